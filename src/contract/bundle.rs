//! Puts the files of `openapi/` together into one document.
//!
//! A reference into a `components` section, of the same file or of another, becomes a reference to the bundled
//! document's own components, and the component is collected. Any other reference is replaced with the value at which
//! it points. Parts that operations [share](shared) in other ways are inserted too. Text that nothing refers to is an
//! error, because nobody would notice if it contradicted the server.
//!
//! `build.rs` includes this file too, and so it uses nothing else of the crate.
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

// The path is given, because `build.rs` would look for the module in another folder than the crate.
#[path = "bundle/shared.rs"]
mod shared;

const ROOT: &str = "openapi.yaml";

/// Members of the root that are not copied. Their content appears elsewhere in the document.
const NOT_COPIED: [&str; 2] = ["components", "security"];

/// Reads `dir/openapi.yaml` and the files beside it.
pub fn bundle(dir: &Path) -> Result<Value> {
    let sources = Sources::read(dir)?;
    let mut bundler = Bundler::new(&sources);
    let mut document = Map::new();
    for (key, value) in sources.root()?.iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())) {
        document.insert(key.clone(), bundler.walk(value, ROOT, Keys::of_children(key, Keys::Fixed))?);
    }
    document.insert("components".to_owned(), bundler.components()?);
    sources.refuse_dead_text(&bundler.reached)?;
    Ok(Value::Object(document))
}

/// `(kind, name)`: `("schemas", "Task")`.
type ComponentKey = (String, String);

/// All files, and the file that defines each component.
struct Sources {
    files: BTreeMap<String, Value>,
    components: BTreeMap<ComponentKey, String>,
}

impl Sources {
    fn read(dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let entries = std::fs::read_dir(dir).with_context(|| format!("{} can't be read", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(".yaml") && !name.starts_with('.') {
                files.insert(name, read_yaml(&path)?);
            }
        }
        let mut sources = Self { files, components: BTreeMap::new() };
        sources.index_components()?;
        Ok(sources)
    }

    fn index_components(&mut self) -> Result<()> {
        for (file, content) in &self.files {
            for (kind, name) in entries_below(&content["components"]) {
                if let Some(other) = self.components.insert((kind.clone(), name.clone()), file.clone()) {
                    bail!("components/{kind}/{name} stands in {other} and in {file}");
                }
            }
        }
        Ok(())
    }

    fn root(&self) -> Result<&Map<String, Value>> {
        self.files.get(ROOT).and_then(Value::as_object).with_context(|| format!("{ROOT} is missing, or not a map"))
    }

    /// The value at which a reference points.
    fn find(&self, target: &Target) -> Option<&Value> {
        self.files.get(&target.file)?.pointer(&target.pointer)
    }

    /// Fails unless each component, each path item and each entry of a section `x-…` was reached from the root.
    fn refuse_dead_text(&self, reached: &BTreeSet<Target>) -> Result<()> {
        let mut dead = Vec::new();
        for (file, content) in &self.files {
            let components = entries_below(&content["components"]);
            let components = components.into_iter().map(|(kind, name)| format!("/components/{kind}/{name}"));
            let paths = content["paths"].as_object().filter(|_| file != ROOT).into_iter().flatten();
            let paths = paths.map(|(name, _)| format!("/paths/{name}"));
            let shared = entries_below(content).into_iter().filter(|(section, _)| section.starts_with("x-"));
            let shared = shared.map(|(section, name)| format!("/{section}/{name}"));
            for pointer in components.chain(paths).chain(shared) {
                let target = Target { file: file.clone(), pointer };
                if !reached.contains(&target) {
                    dead.push(target.to_string());
                }
            }
        }
        if !dead.is_empty() {
            bail!("nothing refers to {}", dead.join(", "));
        }
        Ok(())
    }
}

/// `{schemas: {Task: …}}` as `[("schemas", "Task")]`.
fn entries_below(sections: &Value) -> Vec<ComponentKey> {
    let sections = sections.as_object().into_iter().flatten();
    let names = |(kind, entries): (&String, &Value)| {
        let entries = entries.as_object().into_iter().flatten();
        entries.map(|(name, _)| (kind.clone(), name.clone())).collect::<Vec<_>>()
    };
    sections.flat_map(names).collect()
}

fn read_yaml(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    // The text is parsed as a YAML value first, because that parser refuses duplicate keys.
    let yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).with_context(|| path.display().to_string())?;
    serde_json::to_value(yaml).with_context(|| format!("{} is not what JSON can say", path.display()))
}

/// Where a reference leads.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    file: String,
    pointer: String,
}

impl Target {
    /// Parses a reference that is written in `file`.
    fn parse(reference: &str, file: &str) -> Self {
        let (other, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let file = if other.is_empty() { file } else { other.trim_start_matches("./") };
        Self { file: file.to_owned(), pointer: pointer.to_owned() }
    }

    /// The key of the component, only for `/components/<kind>/<name>`. A target within a component has none.
    fn component(&self) -> Option<ComponentKey> {
        let (kind, name) = self.pointer.strip_prefix("/components/")?.split_once('/')?;
        (!name.contains('/')).then(|| (kind.to_owned(), name.to_owned()))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.file, self.pointer)
    }
}

/// What the keys of a map are: words of the specification, or names that we have chosen. A property may be called
/// `example` or `default`. Only as a word of the specification does such a key mean that its value is data, which is
/// not walked.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    Fixed,
    Chosen,
}

impl Keys {
    fn of_children(key: &str, keys: Self) -> Self {
        let names = ["properties", "responses", "headers", "content", "paths", "callbacks", "links", "mapping"];
        if keys == Self::Fixed && names.contains(&key) { Self::Chosen } else { Self::Fixed }
    }
}

struct Bundler<'a> {
    sources: &'a Sources,
    /// Components that were found and are still to be walked. A component that refers to itself is walked once.
    pending: VecDeque<Target>,
    reached: BTreeSet<Target>,
    /// The references that are being replaced with the values at which they point, outermost first.
    inlining: Vec<Target>,
    /// The responses that operations write out, and the place of the first operation that does so.
    written: BTreeMap<String, String>,
}

impl<'a> Bundler<'a> {
    fn new(sources: &'a Sources) -> Self {
        let mut bundler = Self {
            sources,
            pending: VecDeque::new(),
            reached: BTreeSet::new(),
            inlining: Vec::new(),
            written: BTreeMap::new(),
        };
        // Operations name security schemes without a reference.
        let schemes = sources.components.iter().filter(|((kind, _), file)| kind == "securitySchemes" && *file == ROOT);
        for ((kind, name), file) in schemes {
            bundler.collect(Target { file: file.clone(), pointer: format!("/components/{kind}/{name}") });
        }
        bundler
    }

    fn collect(&mut self, target: Target) {
        if self.reached.insert(target.clone()) {
            self.pending.push_back(target);
        }
    }

    /// Walks the collected components, and those that are collected on the way.
    fn components(&mut self) -> Result<Value> {
        let mut sections: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        while let Some(target) = self.pending.pop_front() {
            let found = self.sources.find(&target).with_context(|| format!("{target} is missing"))?;
            let walked = self.walk(found, &target.file, Keys::Fixed)?;
            let (kind, name) = target.component().with_context(|| format!("{target} is not a component"))?;
            sections.entry(kind).or_default().insert(name, walked);
        }
        Ok(json!(sections))
    }

    fn walk(&mut self, value: &Value, file: &str, keys: Keys) -> Result<Value> {
        match value {
            Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
                Some(reference) if members.len() == 1 => self.follow(reference, file),
                Some(reference) => bail!("{file}: $ref {reference} has members beside it, which readers ignore"),
                None => self.walk_members(members, file, keys),
            },
            Value::Array(items) => items.iter().map(|item| self.walk(item, file, Keys::Fixed)).collect(),
            _ => Ok(value.clone()),
        }
    }

    fn walk_members(&mut self, members: &Map<String, Value>, file: &str, keys: Keys) -> Result<Value> {
        if keys == Keys::Fixed && shared::is_operation(members) {
            return self.operation(members, file);
        }
        let mut walked = Map::new();
        for (key, value) in members {
            let value = match key.as_str() {
                "example" | "examples" | "default" if keys == Keys::Fixed => value.clone(),
                "discriminator" if keys == Keys::Fixed => self.walk_discriminator(value, file)?,
                _ => self.walk(value, file, Keys::of_children(key, keys))?,
            };
            walked.insert(key.clone(), value);
        }
        Ok(Value::Object(walked))
    }

    /// `mapping` holds references that are not written as `$ref`.
    fn walk_discriminator(&mut self, discriminator: &Value, file: &str) -> Result<Value> {
        let mut walked = discriminator.clone();
        for (_, reference) in walked["mapping"].as_object_mut().into_iter().flatten() {
            let text = reference.as_str().with_context(|| format!("{file}: a mapping is not text"))?;
            // A bare name means a schema of this file.
            let full = if text.contains('#') { text.to_owned() } else { format!("#/components/schemas/{text}") };
            *reference = self.follow(&full, file)?["$ref"].take();
        }
        if walked["mapping"].is_null() {
            walked.as_object_mut().map(|members| members.remove("mapping"));
        }
        Ok(walked)
    }

    fn follow(&mut self, reference: &str, file: &str) -> Result<Value> {
        let target = Target::parse(reference, file);
        let sources = self.sources;
        let found = sources.find(&target).with_context(|| format!("{file}: $ref {reference} leads nowhere"))?;
        if let Some((kind, name)) = target.component() {
            self.collect(target);
            return Ok(json!({"$ref": format!("#/components/{kind}/{name}")}));
        }
        if self.inlining.contains(&target) {
            let round: Vec<_> = self.inlining.iter().chain([&target]).map(Target::to_string).collect();
            bail!("references go round: {}", round.join(" → "));
        }
        self.reached.insert(target.clone());
        self.inlining.push(target.clone());
        let walked = self.walk(found, &target.file, Keys::Fixed)?;
        self.inlining.pop();
        Ok(walked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bundles files given as `(name, YAML)`.
    pub(super) fn bundle_files(files: &[(&str, &str)]) -> Result<Value> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        bundle(dir.path())
    }

    fn message(files: &[(&str, &str)]) -> String {
        format!("{:#}", bundle_files(files).unwrap_err())
    }

    const TASKS_ROOT: &str = "openapi: 3.0.3\npaths:\n  /tasks: {$ref: 'tasks.yaml#/paths/tasks'}\n";

    /// `tasks.yaml` with one operation and the given schema.
    fn tasks(schema: &str) -> String {
        let operation = "paths: {tasks: {get: {schema: {$ref: '#/components/schemas/Task'}}}}";
        format!("{operation}\ncomponents:\n  schemas:\n    Task: {schema}\n")
    }

    #[test]
    fn references_into_components_are_collected_and_others_put_in_place() {
        let common = "components: {schemas: {Owner: {type: string}}}";
        let tasks = tasks(
            "{properties: {owner: {$ref: 'common.yaml#/components/schemas/Owner'}, \
              sub: {$ref: '#/components/schemas/Task'}}}",
        );
        let document =
            bundle_files(&[("openapi.yaml", TASKS_ROOT), ("tasks.yaml", &tasks), ("common.yaml", common)]).unwrap();
        let expected = json!({
            "openapi": "3.0.3",
            "paths": {"/tasks": {"get": {"schema": {"$ref": "#/components/schemas/Task"}}}},
            "components": {"schemas": {
                "Owner": {"type": "string"},
                "Task": {"properties": {
                    "owner": {"$ref": "#/components/schemas/Owner"},
                    "sub": {"$ref": "#/components/schemas/Task"},
                }},
            }},
        });
        assert_eq!(document.to_string(), expected.to_string(), "the order counts as well");
    }

    #[test]
    fn security_schemes_need_no_reference() {
        let root = "openapi: 3.0.3\ncomponents: {securitySchemes: {bearerAuth: {type: http}}}";
        let document = bundle_files(&[("openapi.yaml", root)]).unwrap();
        assert_eq!(document["components"]["securitySchemes"]["bearerAuth"]["type"], "http");
    }

    #[test]
    fn examples_and_defaults_are_data_but_properties_of_that_name_are_not() {
        let tasks = tasks(
            "{example: {$ref: '#/nowhere'}, properties: {default: {$ref: '#/components/schemas/Day'}}}\n\
            \x20   Day: {default: {$ref: '#/no'}}",
        );
        let document = bundle_files(&[("openapi.yaml", TASKS_ROOT), ("tasks.yaml", &tasks)]).unwrap();
        let task = &document["components"]["schemas"]["Task"];
        assert_eq!(task["example"]["$ref"], "#/nowhere");
        assert_eq!(task["properties"]["default"]["$ref"], "#/components/schemas/Day");
        assert!(document["components"]["schemas"]["Day"].is_object());
    }

    #[test]
    fn a_discriminator_s_mapping_holds_references() {
        let common = "components: {schemas: {Dog: {type: object}}}";
        let tasks = tasks(
            "{discriminator: {propertyName: kind, \
              mapping: {dog: 'common.yaml#/components/schemas/Dog', cat: Cat}}}\n    Cat: {type: object}",
        );
        let document =
            bundle_files(&[("openapi.yaml", TASKS_ROOT), ("tasks.yaml", &tasks), ("common.yaml", common)]).unwrap();
        let schemas = &document["components"]["schemas"];
        let mapping = json!({"dog": "#/components/schemas/Dog", "cat": "#/components/schemas/Cat"});
        assert_eq!(schemas["Task"]["discriminator"]["mapping"], mapping);
        assert!(schemas["Dog"].is_object() && schemas["Cat"].is_object());
    }

    #[test]
    fn the_same_name_in_two_files_is_refused() {
        let tasks = tasks("{type: object}");
        let common = "components: {schemas: {Task: {type: string}}}";
        let message = message(&[("openapi.yaml", TASKS_ROOT), ("tasks.yaml", &tasks), ("common.yaml", common)]);
        assert_eq!(message, "components/schemas/Task stands in common.yaml and in tasks.yaml");
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_refused() {
        let tasks = tasks("{properties: {owner: {$ref: 'common.yaml#/components/schemas/Owner'}}}");
        let message = message(&[("openapi.yaml", TASKS_ROOT), ("tasks.yaml", &tasks)]);
        assert_eq!(message, "tasks.yaml: $ref common.yaml#/components/schemas/Owner leads nowhere");
    }

    #[test]
    fn a_component_or_path_that_nothing_refers_to_is_refused() {
        let tasks = format!("{}    Old: {{type: object}}\n", tasks("{type: object}"));
        let tasks = tasks.replace("paths: {", "paths: {old: {get: {}}, ");
        let message = message(&[("openapi.yaml", TASKS_ROOT), ("tasks.yaml", &tasks)]);
        assert_eq!(message, "nothing refers to tasks.yaml#/components/schemas/Old, tasks.yaml#/paths/old");
    }

    #[test]
    fn references_that_go_round_are_refused() {
        let tasks = "paths: {tasks: {$ref: '#/paths/other'}, other: {get: {$ref: '#/paths/tasks'}}}";
        let message = message(&[("openapi.yaml", TASKS_ROOT), ("tasks.yaml", tasks)]);
        assert!(message.starts_with("references go round: tasks.yaml#/paths/tasks → tasks.yaml#/paths/other"));
    }

    #[test]
    fn a_reference_with_siblings_is_refused() {
        let tasks = tasks("{properties: {sub: {nullable: true, $ref: '#/components/schemas/Task'}}}");
        let message = message(&[("openapi.yaml", TASKS_ROOT), ("tasks.yaml", &tasks)]);
        assert!(message.contains("has members beside it"), "{message}");
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let message = message(&[("openapi.yaml", "openapi: 3.0.3\nopenapi: 3.0.4\n")]);
        assert!(message.contains("duplicate"), "{message}");
    }
}
