//! The groups in which the contract shows its operations.

/// Declares the group of a slice's operations, by its name in the contract: `tag!(ApiKeys)` is `api-keys`.
#[macro_export]
macro_rules! tag {
    ($name:ident) => {
        #[derive(poem_openapi::Tags)]
        #[oai(rename_all = "kebab-case")]
        enum Tag {
            $name,
        }
    };
}
