"""Readers, identifiers, pairing, selection and the donor split."""
