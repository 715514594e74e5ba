//! `bizcenter openapi`: prints the API contract that this binary serves.
use super::{OpenapiArgs, OpenapiFormat, print};
use crate::contract;
use anyhow::Context;

pub(super) fn run(args: &OpenapiArgs) -> anyhow::Result<()> {
    let text = match args.format {
        OpenapiFormat::Json => contract::JSON,
        OpenapiFormat::Yaml => contract::YAML,
    };
    match &args.output {
        None => print(text),
        Some(file) => std::fs::write(file, text).with_context(|| format!("can't write {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_written_in_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        for (format, expected) in [(OpenapiFormat::Json, contract::JSON), (OpenapiFormat::Yaml, contract::YAML)] {
            let file = folder.path().join("openapi");
            run(&OpenapiArgs { format, output: Some(file.clone()) }).unwrap();
            assert_eq!(std::fs::read_to_string(file).unwrap(), expected);
        }
        let error = run(&OpenapiArgs { format: OpenapiFormat::Json, output: Some(folder.path().into()) }).unwrap_err();
        assert!(error.to_string().starts_with("can't write "), "{error}");
    }
}
