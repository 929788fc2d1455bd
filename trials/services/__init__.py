"""The only writer of the record. One function per verb: change the row, add the event, commit, then tell browsers."""
