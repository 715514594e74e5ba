DROP TABLE stored_bytes;
DROP TABLE loose_objects;
DROP TABLE files;
