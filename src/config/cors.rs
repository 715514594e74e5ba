//! `[cors]`: which web pages of other origins may call the API.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{ValueType, read_list};
use crate::base::origins::{Origins, origin};

settings! {
    /// `[cors]`: which web pages of other origins may call the API.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CorsConfig {
        /// Web origins that may call the API with credentials, as in `["https://app.example.com"]`; `["*"]` lets any call it,
        /// without credentials, in development only; without one, no other origin may, in development neither. Also: {names}
        /// (comma list, JSON list, or *).
        pub origins: Origins = setting("cors.origins", OriginList)
            .named(&["CORS_ORIGINS", "ALLOWED_ORIGINS"])
            .default([]),
    }
}

/// Origins, or `*` for all of them.
struct OriginList;

impl ValueType<Origins> for OriginList {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<Origins> {
        match read_list(reader, path)?.as_slice() {
            [] => Ok(Origins::None),
            [any] if any == "*" && reader.environment.is_development() => Ok(Origins::Any),
            [any] if any == "*" => Err(reader.report(path, "may be * in development only; list the origins")),
            list => {
                let bad: Vec<String> = list.iter().filter_map(|text| origin(text).err()).collect();
                if !bad.is_empty() {
                    return Err(reader.report(path, bad.join("; ")));
                }
                Ok(Origins::List(list.iter().filter_map(|text| origin(text).ok()).collect()))
            }
        }
    }
}
