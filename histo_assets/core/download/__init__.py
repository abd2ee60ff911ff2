"""Room `download`: slides and tables from where they are published to a local folder."""
