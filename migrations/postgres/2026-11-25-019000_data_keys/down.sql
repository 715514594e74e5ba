DROP TABLE data_keys;
DROP TABLE data_key_heads;
