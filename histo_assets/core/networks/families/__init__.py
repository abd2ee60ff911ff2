"""Families of networks that are trained here, a file each: their stages, their embedding, their classifier."""
