"""Opening slides, checking that they are whole, reading regions."""
