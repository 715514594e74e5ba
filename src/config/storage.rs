//! `[storage]`: where the content of files is kept, and how much of it.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{Checked, NonEmptyText, Number, Optional, ValueType, is_loopback, read_url};
use secrecy::SecretString;
use std::path::{Path, PathBuf};

settings! {
    /// `[storage]`: where the content of files is kept, and how much of it.
    #[derive(Debug, Clone)]
    pub struct StorageConfig {
        /// file:///absolute/folder, file://relative/folder, or s3://bucket and s3://bucket/prefix for Amazon S3 and whatever
        /// speaks its protocol; {data_dir} in a folder is the folder above. A folder is for one server, or for several that
        /// share it. Nothing else may be stored there.
        pub url: StorageUrl = setting("storage.url", UrlOfStorage)
            .named(&["STORAGE_URL"])
            .default("file://{data_dir}/files"),

        /// Where S3 is, if it is not Amazon's: https://…; http:// only on this machine, or in development.
        pub endpoint: Option<String> = setting("storage.endpoint", Optional(Endpoint))
            .named(&["AWS_ENDPOINT_URL"])
            .example("https://s3.example.com"),

        /// The region of the bucket.
        pub region: String = setting("storage.region", NonEmptyText).named(&["AWS_REGION"]).default("us-east-1"),

        /// The key to S3. Without it, the server asks the machine that it runs on (the metadata of an instance, or a web
        /// identity).
        pub access_key_id: Option<String> = setting("storage.access_key_id", Checked(Optional(NonEmptyText), has_secret))
            .named(&["AWS_ACCESS_KEY_ID"])
            .example("AKIAIOSFODNN7EXAMPLE"),

        /// The secret of this key.
        pub secret_access_key: Option<SecretString> = setting("storage.secret_access_key", Optional(KeyOfS3))
            .named(&["AWS_SECRET_ACCESS_KEY"])
            .example("…"),

        /// The largest file, in bytes ({range}).
        pub max_upload_bytes: u64 = setting("storage.max_upload_bytes", Number(1024..=52_428_800_000))
            .named(&["MAX_UPLOAD_BYTES"])
            .default(26_214_400),

        /// How many bytes the files of a tenant may have together ({range}).
        pub tenant_quota_bytes: u64 = setting("storage.tenant_quota_bytes", Number(0..=1_125_899_906_842_624))
            .default(10_737_418_240),

        /// How many bytes of the disk uploads leave free, if files are in a folder ({range}). With less, an upload is answered
        /// with 507, so that the database on the same disk can go on.
        pub min_free_bytes: u64 = setting("storage.min_free_bytes", Number(0..=1_125_899_906_842_624))
            .default(268_435_456)
            .in_tests(1_048_576),

        /// How many uploads may be under way at once ({range}): beyond, they are answered with 503. One user may have 6 and
        /// one tenant 12 (429). Each needs some 8 MiB of memory if files are in S3.
        pub max_uploads: u64 = setting("storage.max_uploads", Number(1..=10_000)).default(64),

        /// How many downloads may be under way at once ({range}): beyond, they are answered with 503. One user may have 12 and
        /// one tenant 48 (429).
        pub max_downloads: u64 = setting("storage.max_downloads", Number(1..=10_000)).default(200),
    }
}

/// Where the content of files is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageUrl {
    Folder(PathBuf),
    S3 {
        bucket: String,
        /// What the names of all objects begin with. It may be empty.
        prefix: String,
    },
}

impl StorageUrl {
    /// Parses a URL, and replaces `{data_dir}` in the path of a folder with that folder.
    pub fn parse(text: &str, data_dir: &Path) -> Result<Self, &'static str> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or_default();
        match scheme.to_ascii_lowercase().as_str() {
            "file" if rest.is_empty() => Err("must name a folder"),
            "file" => Ok(Self::Folder(rest.replace("{data_dir}", &data_dir.to_string_lossy()).into())),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
                match (3..=63).contains(&bucket.len()) && bucket.chars().all(is_of_name) {
                    true => Ok(Self::S3 { bucket: bucket.into(), prefix: prefix.trim_matches('/').into() }),
                    false => Err("must name a bucket, of 3 to 63 lower-case letters, digits, dots and hyphens"),
                }
            }
            _ => Err("must start with file:// or s3://"),
        }
    }
}

struct UrlOfStorage;

impl ValueType<StorageUrl> for UrlOfStorage {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<StorageUrl> {
        let text = reader.text(path)?;
        let data_dir = reader.peek("data_dir").unwrap_or_else(|| PathBuf::from("."));
        reader.show_instead(path, format!("{:?}", text.replace("{data_dir}", &data_dir.to_string_lossy())));
        StorageUrl::parse(&text, &data_dir).map_err(|message| reader.report(path, message))
    }
}

/// The address of an S3 server. Files must not cross a network unencrypted.
struct Endpoint;

impl ValueType<String> for Endpoint {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<String> {
        let url = read_url(reader, path, &["https", "http"])?;
        if url.scheme() == "http" && !is_loopback(&url) && !reader.environment.is_development() {
            return Err(reader.report(path, "would send files in the clear: start with https://"));
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

/// The secret of a key to S3. The operator of S3 has chosen it, so its strength is not checked.
struct KeyOfS3;

impl ValueType<SecretString> for KeyOfS3 {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<SecretString> {
        let secret: String = NonEmptyText.read(reader, path)?;
        Ok(secret.into())
    }

    fn is_secret(&self) -> bool {
        true
    }
}

fn has_secret(key: &Option<String>, reader: &Reader) -> Result<(), &'static str> {
    match key.is_some() == reader.is_given("storage.secret_access_key") {
        true => Ok(()),
        false => Err("and storage.secret_access_key are given together"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_folder_or_a_bucket() {
        let parse = |text| StorageUrl::parse(text, Path::new("/data"));
        let folder = |path: &str| Ok(StorageUrl::Folder(path.into()));
        assert_eq!(parse("file:///var/files"), folder("/var/files"));
        assert_eq!(parse(" FILE://files "), folder("files"));
        assert_eq!(parse("file://{data_dir}/files"), folder("/data/files"));
        let bucket = |bucket: &str, prefix: &str| Ok(StorageUrl::S3 { bucket: bucket.into(), prefix: prefix.into() });
        assert_eq!(parse("s3://files"), bucket("files", ""));
        assert_eq!(parse("s3://my.files-1/a/b/"), bucket("my.files-1", "a/b"));
        for wrong in ["", "files", "file://", "s3://", "s3://ab", "s3://A-Bucket", "gs://files", "s3:/files"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
