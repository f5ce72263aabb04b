"""The policies, catalogues and tables that ship with Lowtide: data, read by `workers`."""
