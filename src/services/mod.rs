//! Services besides the database: jobs, mail, the cache, the storage of files, and the connection to Redis that some of these share.
pub mod cache;
pub mod jobs;
pub mod mail;
pub mod mail_text;
pub mod redis;
pub mod storage;
