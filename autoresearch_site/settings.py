"""Settings: one file, read from the environment by small typed readers that are loud on nonsense.

Everything has a default for one machine; beyond it, DATABASE_URL, BROKER_URL and REDIS_URL point elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from socket import TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from autoresearch_site import embedded, secrets_store, steady

BASE_DIR = Path(__file__).resolve().parent.parent


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, default).strip()


def boolean(name: str, default: bool) -> bool:
    value = text(name, str(default)).lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} is {value!r}, expected one of 1, 0, true, false, yes, no, on, off")


def integer(name: str, default: int, low: int, high: int) -> int:
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {value!r}, expected a whole number") from None
    if not low <= number <= high:
        raise ImproperlyConfigured(f"{name} is {number}, expected {low} to {high}")
    return number


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def choice(name: str, default: str, among: Sequence[str]) -> str:
    value = text(name, default)
    found = next((each for each in among if each.lower() == value.lower()), None)
    if found is None:
        raise ImproperlyConfigured(f"{name} is {value!r}, expected one of {', '.join(among)}")
    return found


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(word) for word in words(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}, expected networks such as 10.0.0.0/8 or addresses") from None


DATA_DIR = Path(text("DATA_DIR", str(BASE_DIR / "var"))).expanduser().absolute()
_endpoints = embedded.endpoints(DATA_DIR)

DEBUG = boolean("DEBUG", False)
SECRET_KEY = text("SECRET_KEY") or secrets_store.secret_key(DATA_DIR)
SIGNING_KEY_FILE = secrets_store.signing_key_file(DATA_DIR)
ALLOWED_HOSTS = words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")
BEHIND_TLS = boolean("BEHIND_TLS", False)

INSTALLED_APPS = [
    "autoresearch_site",
    "specialists",
    "evaluators",
    "trials",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
    "axes",
]

MIDDLEWARE = [
    "autoresearch_site.readiness.probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "autoresearch_site.urls"
ASGI_APPLICATION = "autoresearch_site.asgi.application"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "trials:campaigns"
LOGOUT_REDIRECT_URL = "login"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "trials.context.site",
            ],
        },
    }
]


def _database() -> dict[str, Any]:
    url = text("DATABASE_URL")
    if not url:
        return {"ENGINE": "django.db.backends.postgresql", **_endpoints.database}
    expected = "expected postgres://user:password@host:port/name"
    try:
        parsed = dict(dj_database_url.parse(url))
    except ValueError:
        raise ImproperlyConfigured(f"DATABASE_URL is malformed, {expected}") from None
    if parsed["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"DATABASE_URL names another kind of database, {expected}")
    return parsed


# How long a silent evaluator keeps its trial, and after how long a work order that nobody took is sent again. A worker
# that is lost is noticed within a lease and a tick of the beat.
LEASE_SECONDS = integer("LEASE_SECONDS", 20, 3, 3600)
LOST_MESSAGE_SECONDS = integer("LOST_MESSAGE_SECONDS", 60, 3, 3600)
TICK_SECONDS = min(5.0, LEASE_SECONDS / 3)


def _surviving(database: dict[str, Any]) -> dict[str, Any]:
    """A connection that notices within a lease that its server is gone, and that holds no lock when its host is."""
    probes = max(1, LEASE_SECONDS // 4)
    options = {
        "connect_timeout": 10,
        "keepalives_idle": probes,
        "keepalives_interval": probes,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000 * LEASE_SECONDS,
        # Only what trials.statements runs is prepared (queries of the mapper carry their values in their text), and all
        # of that goes by indexes, whatever the values: planned once. A plan that is made while a table is tiny must not
        # read all of it, for it is kept while the table grows: a page by an index costs no more than one in order.
        "prepare_threshold": 5,
        # A host that is stopped or cut off inside a transaction holds a campaign's lock: its server lets go of it.
        "options": "-c plan_cache_mode=force_generic_plan -c random_page_cost=1.1 "
        f"-c idle_in_transaction_session_timeout={LEASE_SECONDS}s -c tcp_keepalives_idle={probes} "
        f"-c tcp_keepalives_interval={probes} -c tcp_keepalives_count=3",
    }
    return database | {
        "CONN_MAX_AGE": 600,  # a new connection plans all statements anew
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options | database.get("OPTIONS", {}),
    }


DATABASES = {"default": _surviving(_database())}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

BROKER_URL = text("BROKER_URL") or _endpoints.broker_url
_broker_is_redis = BROKER_URL.startswith(("redis://", "rediss://"))
REDIS_URL = text("REDIS_URL") or (BROKER_URL if _broker_is_redis else _endpoints.redis_url)

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "live"},
    }
}

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_timeout": 5, "socket_connect_timeout": 5},
        "KEY_PREFIX": "cache",
    }
}

CELERY_BROKER_URL = BROKER_URL
# Of amqps:// only: redis clients read theirs from the address (rediss://...?ssl_ca_certs=FILE).
CELERY_BROKER_USE_SSL = (
    {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": text("BROKER_CA_FILE") or None,
        "certfile": text("BROKER_CERT_FILE") or None,
        "keyfile": text("BROKER_KEY_FILE") or None,
        "server_hostname": urlsplit(BROKER_URL).hostname,
    }
    if BROKER_URL.startswith("amqps://")
    else False
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a broker that is away is waited for
CELERY_BROKER_CONNECTION_TIMEOUT = 5.0
CELERY_BROKER_HEARTBEAT = 20
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        # What a worker has taken it keeps to itself, and gives back when it ends in good order. A copy in Redis would
        # be delivered again by the clock alone, in the middle of a long trial; what a killed worker had the tick finds.
        "ack_emulation": False,
        "health_check_interval": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "socket_keepalive_options": {TCP_KEEPIDLE: 5, TCP_KEEPINTVL: 5, TCP_KEEPCNT: 3},
    }
    if BROKER_URL.startswith("redis")
    else {"confirm_publish": True, "max_retries": 3, "interval_start": 0, "interval_step": 0.5, "interval_max": 2}
)
# A message that cannot be sent is found by the next tick: nobody holds a lock or a page meanwhile.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# A measurement of an hour outlives its broker: what is delivered again meanwhile finds it claimed.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_DB_REUSE_MAX = 1_000_000_000  # tasks; see autoresearch_site.celery, which looks after the connection instead
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"specialists.run_session": {"queue": "agents"}}
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"  # in memory: no file that a full disk or a kill could spoil
# Counted by a clock that nobody sets. Without a time of expiry: that would be told by one host and read by another.
CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "specialists.tick", "schedule": steady.every(TICK_SECONDS)},
    "notices": {"task": "trials.notices", "schedule": steady.every(2 * TICK_SECONDS)},
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# A body is counted while it arrives (body_limit), then by Django; nothing here takes files, so memory holds them all.
MAX_BODY_BYTES = integer("MAX_BODY_BYTES", 2_621_440, 10_000, 1 << 30)
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FILES = 10

SESSION_ENGINE = "autoresearch_site.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None
SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_HSTS_SECONDS = integer("HSTS_SECONDS", 3600, 0, 10 * 365 * 86_400) if BEHIND_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = boolean("HSTS_SUBDOMAINS", False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # other hosts of a domain are not this site's to speak for
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# By name and address together: nobody locks somebody else out from another place, nor a whole office by one name.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = integer("LOGIN_FAILURES", 10, 1, 1000)
AXES_COOLOFF_TIME = timedelta(minutes=integer("LOGIN_COOLOFF_MINUTES", 15, 1, 7 * 24 * 60))
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True  # log-ins that matter are in the site's ledger
AXES_VERBOSE = False
AXES_LOCKOUT_TEMPLATE = "registration/locked.html"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Plotly sets inline styles on the elements that it draws; scripts are files of this site only.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF, "'unsafe-inline'"],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

METRICS_TOKEN = text("METRICS_TOKEN")
METRICS_NETWORKS = networks("METRICS_NETWORKS")
WEBHOOK_NETWORKS = networks("WEBHOOK_NETWORKS")  # of one's own, which webhooks may reach beside the internet
API_RATE = f"{integer('API_REQUESTS_PER_MINUTE', 600, 1, 100_000)}/m"  # of each token

LOG_LEVEL = choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOG_FORMAT = choice("LOG_FORMAT", "line", ("line", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "specialists.redaction.RedactingFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        },
        "json": {"()": "specialists.redaction.JsonFormatter"},
    },
    "filters": {"ids": {"()": "trials.logcontext.Ids"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["ids"]}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {"httpx2": {"level": "WARNING"}},  # a line for each request to a model is the transcript's business
}

# Of everybody without limits of his own; 0: no limit.
QUOTA_CAMPAIGNS = integer("QUOTA_CAMPAIGNS", 0, 0, 100_000)
QUOTA_DEVICE_HOURS = integer("QUOTA_DEVICE_HOURS", 0, 0, 100_000_000)
QUOTA_USD = integer("QUOTA_USD", 0, 0, 1_000_000_000)

# The search
EVALUATOR_LEVEL = text("EVALUATOR_LEVEL", "L3")
AGENT_SLOTS = integer("AGENT_SLOTS", 4, 1, 512)
CODE_VERSION = text("CODE_VERSION")[:80]  # what a worker says it runs (evaluators.version)
TRACE_LICENCE = text("TRACE_LICENCE", "not stated")[:200]  # of the records of campaigns; part of their specification
EVALUATOR_SLOTS = integer("EVALUATOR_SLOTS", os.cpu_count() or 1, 1, 512)
