//! Tests properties of the check: a value that fits the schema passes, and a value with one fault is refused for
//! exactly that fault.
use super::*;
use proptest::prelude::*;

const LATIN: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// A schema of any kind that the derive generates. Objects may refer to one of the two definitions.
fn schema() -> BoxedStrategy<Value> {
    let bounds = (0_u64..4, 0_u64..4);
    let text =
        bounds.clone().prop_map(|(min, more)| json!({"type": "string", "minLength": min, "maxLength": min + more}));
    let number = (-50_i64..50, 0_i64..50, prop::sample::select(vec!["integer", "number"]));
    let number = number.prop_map(|(min, more, kind)| json!({"type": kind, "minimum": min, "maximum": min + more}));
    let formats = prop::sample::select(vec!["uuid", "date", "date-time", "email"]);
    let leaf = prop_oneof![
        text,
        number,
        Just(json!({"type": "integer", "format": "int32"})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "string", "enum": LATIN})),
        Just(json!({"type": "string", "pattern": "^[a-z]+$"})),
        formats.prop_map(|format| json!({"type": "string", "format": format})),
        Just(json!({"$ref": "#/components/schemas/Choice"})),
        Just(json!({"allOf": [{"$ref": "#/components/schemas/Pair"}, {"default": null}]})),
    ];
    let nullable = |(mut schema, nullable): (Value, bool)| {
        if nullable {
            schema["nullable"] = json!(true);
        }
        schema
    };
    let leaf = (leaf, any::<bool>()).prop_map(nullable);
    let schema = leaf.prop_recursive(3, 16, 4, move |inner| {
        let members =
            prop::collection::btree_map(prop::sample::select(LATIN.to_vec()), (inner.clone(), any::<bool>()), 0..4);
        let object = members.prop_map(|members| {
            let required: Vec<_> =
                members.iter().filter(|(_, (_, required))| *required).map(|(name, _)| *name).collect();
            let properties: Map<_, _> =
                members.iter().map(|(name, (schema, _))| (name.to_string(), schema.clone())).collect();
            json!({"type": "object", "properties": properties, "required": required})
        });
        let array = (inner, bounds.clone()).prop_map(
            |(items, (min, more))| json!({"type": "array", "items": items, "minItems": min, "maxItems": min + more}),
        );
        (prop_oneof![2 => object, 1 => array], any::<bool>()).prop_map(nullable)
    });
    schema.boxed()
}

fn with_definitions(root: Value) -> Schema {
    let pair = json!({"type": "object", "required": ["left"], "properties": {
        "left": {"type": "integer", "minimum": 1, "maximum": 9},
        "right": {"type": "string", "minLength": 0, "maxLength": 3, "nullable": true},
    }});
    Schema { root, definitions: json!({"Choice": {"type": "string", "enum": LATIN}, "Pair": pair}) }
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a bound")
}

/// Values that fit the schema.
fn fitting(schema: &Schema, of: &Value) -> BoxedStrategy<Value> {
    let nullable = of["nullable"] == true;
    let of = schema.resolve(of);
    let bounded =
        |min: &str, max: &str| of[min].as_u64().unwrap_or(0) as usize..=of[max].as_u64().unwrap_or(9) as usize;
    let value = match (of["type"].as_str().expect("a type"), of["format"].as_str()) {
        _ if of["enum"].is_array() => prop::sample::select(of["enum"].as_array().expect("choices").clone()).boxed(),
        _ if of["pattern"].is_string() => {
            prop::collection::vec(prop::char::range('a', 'z'), 1..9).prop_map(text).boxed()
        }
        ("string", Some("uuid")) => any::<u128>().prop_map(|id| json!(uuid::Uuid::from_u128(id).to_string())).boxed(),
        ("string", Some("date")) => {
            (1..=9999, 1..=12, 1..=28).prop_map(|(y, m, d)| json!(format!("{y:04}-{m:02}-{d:02}"))).boxed()
        }
        ("string", Some("date-time")) => (2..=9998, 0..=23, 0..=999_999)
            .prop_map(|(y, h, us)| json!(format!("{y:04}-05-06T{h:02}:59:00.{us:06}+01:30")))
            .boxed(),
        ("string", Some(_)) => (1..999_u32).prop_map(|n| json!(format!("user{n}@example.com"))).boxed(),
        ("string", None) => {
            let letters = any::<char>().prop_map(|c| if c == '\0' { '한' } else { c });
            prop::collection::vec(letters, bounded("minLength", "maxLength")).prop_map(text).boxed()
        }
        ("integer" | "number", Some(_)) => any::<i32>().prop_map(Value::from).boxed(),
        ("integer", None) => (number(&of["minimum"])..=number(&of["maximum"])).prop_map(Value::from).boxed(),
        ("number", None) => {
            (number(&of["minimum"]) as f64..=number(&of["maximum"]) as f64).prop_map(Value::from).boxed()
        }
        ("boolean", _) => any::<bool>().prop_map(Value::from).boxed(),
        ("array", _) => prop::collection::vec(fitting(schema, &of["items"]), bounded("minItems", "maxItems"))
            .prop_map(Value::from)
            .boxed(),
        _ => {
            let required = of["required"].as_array().expect("a list").clone();
            let mut members = Just(Map::new()).boxed();
            for (name, member) in of["properties"].as_object().expect("members").clone() {
                let value = match required.contains(&json!(name)) {
                    true => fitting(schema, &member).prop_map(Some).boxed(),
                    false => prop::option::of(fitting(schema, &member)).boxed(),
                };
                let insert = move |(mut members, value): (Map<String, Value>, Option<Value>)| {
                    members.extend(value.map(|value| (name.clone(), value)));
                    members
                };
                members = (members, value).prop_map(insert).boxed();
            }
            members.prop_map(Value::Object).boxed()
        }
    };
    if nullable { prop_oneof![1 => Just(Value::Null), 4 => value].boxed() } else { value }
}

fn text(letters: Vec<char>) -> Value {
    json!(String::from_iter(letters))
}

/// Variants of this value with one fault each, and the path that the check must name. There is a variant for each
/// possible fault.
fn faulty(schema: &Schema, of: &Value, value: &Value, at: &str) -> Vec<(Value, String)> {
    let mut found: Vec<(Value, String)> = vec![];
    let here = |value: Value| (value, at.to_owned());
    if of["nullable"] != true {
        found.push(here(Value::Null));
    }
    let of = schema.resolve(of);
    let kind = of["type"].as_str().expect("a type");
    let others = [json!({}), json!([]), json!("?"), json!(1.5), json!(true)];
    let belongs = |other: &Value| match kind {
        "object" => other.is_object(),
        "array" => other.is_array(),
        "string" => other.is_string(),
        "number" => other.is_number(),
        "boolean" => other.is_boolean(),
        _ => false,
    };
    found.extend(others.into_iter().filter(|other| !belongs(other)).map(here));
    match value {
        _ if of["enum"].is_array() => found.extend([json!(""), json!("Alpha"), json!("epsilon")].map(here)),
        Value::String(_) if of["pattern"].is_string() || of["format"].is_string() => found.push(here(json!("?"))),
        Value::String(text) => {
            let (min, max) = (number(&of["minLength"]) as usize, number(&of["maxLength"]) as usize);
            found.push(here(json!("한".repeat(max + 1))));
            found.extend((min > 0).then(|| here(json!("a".repeat(min - 1)))));
            found.extend(
                (!text.is_empty()).then(|| here(json!(text.chars().skip(1).chain(['\0']).collect::<String>()))),
            );
        }
        Value::Number(_) if of["format"] == "int32" => found.extend([json!(1_i64 << 31), json!(i64::MIN)].map(here)),
        Value::Number(_) => {
            found.extend([json!(number(&of["minimum"]) - 1), json!(number(&of["maximum"]) + 1)].map(here));
        }
        Value::Array(items) => {
            if let Some(item) = items.first() {
                found.push(here(json!(vec![item; number(&of["maxItems"]) as usize + 1])));
            }
            if !items.is_empty() && items.len() as i64 == number(&of["minItems"]) {
                found.push(here(json!(items[1..])));
            }
            for (index, item) in items.iter().enumerate() {
                for (fault, path) in faulty(schema, &of["items"], item, &join(at, &index.to_string())) {
                    let mut whole = items.clone();
                    whole[index] = fault;
                    found.push((json!(whole), path));
                }
            }
        }
        Value::Object(members) => {
            let mut more = members.clone();
            more.insert("unknown".to_owned(), Value::Null);
            found.push((json!(more), join(at, "unknown")));
            for name in of["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let mut fewer = members.clone();
                fewer.remove(name);
                found.push((json!(fewer), join(at, name)));
            }
            for (name, member) in members {
                for (fault, path) in faulty(schema, &of["properties"][name], member, &join(at, name)) {
                    let mut whole = members.clone();
                    whole.insert(name.clone(), fault);
                    found.push((json!(whole), path));
                }
            }
        }
        Value::Bool(_) | Value::Null => {}
    }
    found
}

fn schema_and_value() -> impl Strategy<Value = (Value, Value)> {
    schema().prop_flat_map(|root| {
        let value = fitting(&with_definitions(root.clone()), &root);
        (Just(root), value)
    })
}

proptest! {
    #[test]
    fn what_fits_passes_and_one_fault_is_named_by_its_path((root, value) in schema_and_value()) {
        let schema = with_definitions(root);
        prop_assert_eq!(schema.check(&value), Ok(()));
        for (fault, path) in faulty(&schema, &schema.root, &value, "") {
            let problems = schema.check(&fault).err().unwrap_or_default();
            let paths: Vec<_> = problems.0.keys().collect();
            prop_assert_eq!(paths, [&path], "{}", fault);
        }
    }
}

/// The properties above prove nothing if no faults are generated. This test checks that there is one of each kind.
#[test]
fn faults_of_every_kind_are_tried() {
    let root = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/components/schemas/Pair"}},
        "b": {"type": "string", "minLength": 1, "maxLength": 2, "nullable": true},
    }});
    let schema = with_definitions(root.clone());
    let found = faulty(&schema, &root, &json!({"a": [{"left": 5, "right": "x"}], "b": "yz"}), "");
    let paths: std::collections::BTreeSet<_> = found.iter().map(|(_, path)| path.as_str()).collect();
    let expected = ["", "a", "a.0", "a.0.left", "a.0.right", "a.0.unknown", "b", "unknown"];
    assert_eq!(paths.into_iter().collect::<Vec<_>>(), expected);
    assert!(found.len() > 30, "{} faults", found.len());
}
