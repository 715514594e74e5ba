//! All rules of the normaliser, each with its reason. Only the rules in this list are applied.
use serde_json::{Map, Value, json};

type Members = Map<String, Value>;

/// Where in the normal form a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Document,
    SecurityScheme,
    Operation,
    Parameter,
    Body,
    Response,
    Header,
    MediaType,
    Schema,
}

pub struct Rule {
    pub name: &'static str,
    pub why: &'static str,
    pub at: &'static [At],
    /// The second argument is the whole document, in which references can be followed.
    pub apply: fn(&mut Members, &Value),
}

/// The only rule that drops something important. The check for breaking changes leaves this rule out.
pub const CLOSED_OBJECTS: &str = "closed objects";

/// All rules, in the order in which they are applied. A later rule sees the result of the earlier ones.
pub const RULES: &[Rule] = &[
    Rule {
        name: "text",
        why: "descriptions, titles, examples and extensions are for readers and change no message",
        at: &[
            At::SecurityScheme,
            At::Operation,
            At::Parameter,
            At::Body,
            At::Response,
            At::Header,
            At::MediaType,
            At::Schema,
        ],
        apply: drop_text,
    },
    Rule {
        name: "document facts",
        why: "of the head, only title, version, server addresses and tag names are promised; 3.0.x are one version",
        at: &[At::Document],
        apply: keep_document_facts,
    },
    Rule {
        name: "scope texts",
        why: "a scope is a name; poem-openapi describes it in its own words",
        at: &[At::SecurityScheme],
        apply: name_scopes,
    },
    Rule {
        name: "false flags",
        why: "false is the default of each; poem-openapi writes it out in some places and not in others",
        at: &[At::Operation, At::Parameter, At::Header, At::Body, At::Schema],
        apply: drop_false_flags,
    },
    Rule {
        name: "order of sets",
        why: "tags and security requirements are sets",
        at: &[At::Operation],
        apply: sort_operation_sets,
    },
    Rule {
        name: "header case",
        why: "header names are the same in either case (RFC 9110)",
        at: &[At::Parameter],
        apply: lower_header_name,
    },
    Rule {
        name: "default serialisation",
        why: "style and explode mean nothing for plain values, and their defaults may be left out",
        at: &[At::Parameter, At::Header],
        apply: drop_default_serialisation,
    },
    Rule {
        name: "empty parts",
        why: "no headers and no content may be written as an empty map or not at all",
        at: &[At::Body, At::Response],
        apply: drop_empty_parts,
    },
    Rule {
        name: "whole numbers",
        why: "poem-openapi keeps limits as floating-point numbers: 1.0 is 1",
        at: &[At::Schema],
        apply: write_whole_numbers,
    },
    Rule {
        name: "order of required and enum",
        why: "they are sets, and an empty `required` requires nothing",
        at: &[At::Schema],
        apply: sort_schema_sets,
    },
    Rule {
        name: CLOSED_OBJECTS,
        why: "poem-openapi can't say `additionalProperties: false`; probes prove it against the running server",
        at: &[At::Schema],
        apply: open_objects,
    },
    Rule {
        name: "open objects",
        why: "`additionalProperties: {}` is `true`",
        at: &[At::Schema],
        apply: say_open_as_true,
    },
    Rule {
        name: "naive-date",
        why: "poem-openapi's name of what RFC 3339 and OpenAPI call `date`",
        at: &[At::Schema],
        apply: rename_naive_date,
    },
    Rule {
        name: "null defaults",
        why: "poem-openapi writes `default: null` for what may be absent; where null isn't allowed, it says nothing",
        at: &[At::Schema],
        apply: drop_null_default,
    },
    Rule {
        name: "nullable reference type",
        why: "3.0.3 wants `type` beside `nullable`; poem-openapi leaves it out where `allOf` refers to the type",
        at: &[At::Schema],
        apply: drop_type_beside_nullable_reference,
    },
    Rule {
        name: "notes within allOf",
        why: "poem-openapi writes a reference with a default as `{default, allOf: [reference, {default}]}`; by hand it \
              is `{default, allOf: [reference]}`",
        at: &[At::Schema],
        apply: lift_notes_out_of_all_of,
    },
    Rule {
        name: "lone allOf",
        why: "`allOf` around one reference and nothing beside it only made room for a description",
        at: &[At::Schema],
        apply: unwrap_lone_all_of,
    },
];

fn drop_text(members: &mut Members, _: &Value) {
    const TEXT: [&str; 6] = ["description", "title", "summary", "example", "examples", "externalDocs"];
    members.retain(|key, _| !TEXT.contains(&key.as_str()) && !key.starts_with("x-"));
}

fn keep_document_facts(document: &mut Members, _: &Value) {
    let version = document["openapi"].as_str().unwrap_or_default();
    document["openapi"] = json!(version.rsplit_once('.').map_or(version, |(feature, _)| feature));
    document["info"] = json!({"title": document["info"]["title"], "version": document["info"]["version"]});
    document["servers"] = sorted(pluck(&document["servers"], "url"));
    document["tags"] = sorted(pluck(&document["tags"], "name"));
}

fn name_scopes(scheme: &mut Members, _: &Value) {
    let flows = scheme.get_mut("flows").and_then(Value::as_object_mut);
    for (_, flow) in flows.into_iter().flatten() {
        let scopes = flow["scopes"].as_object().into_iter().flatten();
        flow["scopes"] = sorted(scopes.map(|(name, _)| json!(name)).collect());
    }
}

fn drop_false_flags(members: &mut Members, _: &Value) {
    const FLAGS: [&str; 10] = [
        "allowEmptyValue",
        "allowReserved",
        "deprecated",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "nullable",
        "readOnly",
        "required",
        "uniqueItems",
        "writeOnly",
    ];
    members.retain(|key, value| value != &json!(false) || !FLAGS.contains(&key.as_str()));
}

fn sort_operation_sets(operation: &mut Members, _: &Value) {
    for key in ["tags", "security"] {
        let mut items = operation.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        items.iter_mut().for_each(Value::sort_all_objects);
        operation.insert(key.to_owned(), sorted(items));
    }
}

fn lower_header_name(parameter: &mut Members, _: &Value) {
    if parameter["in"] == "header" {
        parameter["name"] = json!(parameter["name"].as_str().unwrap_or_default().to_lowercase());
    }
}

fn drop_default_serialisation(parameter: &mut Members, document: &Value) {
    let place = parameter.get("in").and_then(Value::as_str).unwrap_or("header");
    let default_style = if matches!(place, "query" | "cookie") { "form" } else { "simple" };
    let style = parameter.get("style").cloned().unwrap_or(json!(default_style));
    let default_explode = json!(style == "form");
    let composed = parameter.get("schema").is_some_and(|schema| is_composed(schema, document));
    if !composed || style == default_style {
        parameter.remove("style");
    }
    if !composed || parameter.get("explode") == Some(&default_explode) {
        parameter.remove("explode");
    }
}

fn is_composed(schema: &Value, document: &Value) -> bool {
    let wrapped = schema["allOf"].as_array().into_iter().flatten().any(|inner| is_composed(inner, document));
    let pointer = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    let target = pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema);
    wrapped || matches!(target["type"].as_str(), Some("array" | "object"))
}

fn drop_empty_parts(members: &mut Members, _: &Value) {
    members.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
}

fn write_whole_numbers(schema: &mut Members, _: &Value) {
    schema.iter_mut().for_each(|(_, value)| write_whole_number(value));
}

fn write_whole_number(value: &mut Value) {
    // Above 2^53, a float can't represent every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT);
            if let Some(whole) = whole {
                *value = json!(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_number),
        _ => {}
    }
}

fn sort_schema_sets(schema: &mut Members, _: &Value) {
    for key in ["required", "enum"] {
        if let Some(Value::Array(items)) = schema.get_mut(key) {
            *items = sorted_items(std::mem::take(items));
        }
    }
    schema.retain(|key, value| key != "required" || value != &json!([]));
}

fn open_objects(schema: &mut Members, _: &Value) {
    schema.retain(|key, value| key != "additionalProperties" || value != &json!(false));
}

fn say_open_as_true(schema: &mut Members, _: &Value) {
    if let Some(open) = schema.get_mut("additionalProperties").filter(|open| **open == json!({})) {
        *open = json!(true);
    }
}

fn rename_naive_date(schema: &mut Members, _: &Value) {
    if let Some(format) = schema.get_mut("format").filter(|format| *format == "naive-date") {
        *format = json!("date");
    }
}

fn drop_null_default(schema: &mut Members, _: &Value) {
    if !schema.contains_key("nullable") && schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

fn drop_type_beside_nullable_reference(schema: &mut Members, _: &Value) {
    if schema.contains_key("nullable") && schema.contains_key("allOf") {
        schema.remove("type");
    }
}

/// Moves defaults and flags out of `allOf`, because they mean the same beside it. Anything else, such as a limit, is
/// left alone.
fn lift_notes_out_of_all_of(schema: &mut Members, _: &Value) {
    const NOTES: [&str; 5] = ["default", "deprecated", "nullable", "readOnly", "writeOnly"];
    let Some(Value::Array(parts)) = schema.get("allOf").cloned() else { return };
    let is_note =
        |part: &Value| part.as_object().is_some_and(|part| part.keys().all(|key| NOTES.contains(&key.as_str())));
    let (notes, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_note);
    let agree = |note: &Value| {
        let mut members = note.as_object().into_iter().flatten();
        members.all(|(key, value)| schema.get(key).is_none_or(|beside| beside == value))
    };
    if notes.iter().all(agree) {
        for (key, value) in notes.iter().filter_map(Value::as_object).flatten() {
            schema.insert(key.clone(), value.clone());
        }
        schema.insert("allOf".to_owned(), Value::Array(others));
    }
}

fn unwrap_lone_all_of(schema: &mut Members, _: &Value) {
    let lone = schema.get("allOf").and_then(Value::as_array).filter(|parts| parts.len() == 1 && schema.len() == 1);
    if let Some(part) = lone.and_then(|parts| parts[0].as_object()).cloned() {
        *schema = part;
    }
}

fn pluck(list: &Value, key: &str) -> Vec<Value> {
    list.as_array().into_iter().flatten().map(|item| item[key].clone()).collect()
}

fn sorted(items: Vec<Value>) -> Value {
    Value::Array(sorted_items(items))
}

fn sorted_items(mut items: Vec<Value>) -> Vec<Value> {
    items.sort_by_cached_key(Value::to_string);
    items
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
