# ml_collections has no types, and Pyright infers from its source that every field of a config may
# be None, a string, a list, ...: what a field holds, config/fields.py says and checks.
from ml_collections import config_dict as config_dict
from ml_collections import config_flags as config_flags
from ml_collections.config_dict import ConfigDict as ConfigDict
from ml_collections.config_dict import FieldReference as FieldReference
from ml_collections.config_dict import FrozenConfigDict as FrozenConfigDict
