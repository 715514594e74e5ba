//! The layers of `src`: each uses only those below it, and no module uses one that uses it back.
//!
//! The imports and paths of every file are read with `syn`; what stands in macros is read token by token. Code for tests
//! does not count: a test may use whatever it needs.
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree};

/// From the bottom up; what each holds stands in `lib.rs`. A layer may use those before it.
const ORDER: [&str; 11] =
    ["base", "contract", "config", "server", "db", "services", "auth", "api", "resources", "app", "cli"];

/// A module of a layer, such as `["db", "lease"]`.
type Module = [String; 2];

/// One use of one module by another: which file has it, and the path that it writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: Module,
    to: Module,
    place: String,
}

/// Reads the paths of one file.
struct Reader {
    /// The path of the file's module, such as `["db", "lease"]`.
    module: Vec<String>,
    paths: Vec<Vec<String>>,
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

impl Reader {
    /// A path as it is written, from the crate on; nothing where it is another crate's, or within the module itself.
    fn add(&mut self, written: &[String]) {
        let mut at = self.module.clone();
        let mut rest = written;
        match written.first().map(String::as_str) {
            Some("crate") => {
                at.clear();
                rest = &written[1..];
            }
            Some("super") => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            _ => return,
        }
        at.extend_from_slice(rest);
        self.paths.push(at);
    }

    fn add_tree(&mut self, before: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(before, &path.tree);
                before.pop();
            }
            UseTree::Name(name) => self.add(&[before.as_slice(), &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.add(&[before.as_slice(), &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(before, tree)),
        }
    }

    /// `crate::…` and `$crate::…` among tokens.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "crate" => {
                    let mut path = vec!["crate".to_owned()];
                    while let [TokenTree::Punct(a), TokenTree::Punct(b), TokenTree::Ident(next), ..] = &tokens[at + 1..]
                        && (a.as_char(), b.as_char()) == (':', ':')
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.add(&path);
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &vec![],
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&mut vec![], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.add_tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

/// A file of the source: its module, and its text.
struct Source {
    module: Vec<String>,
    name: String,
    text: String,
}

fn sources() -> Vec<Source> {
    fn read(folder: &Path, module: &[String], into: &mut Vec<Source>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                read(&path, &[module, &[stem]].concat(), into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = match stem.as_str() {
                    "mod" => module.to_vec(),
                    _ => [module, &[stem]].concat(),
                };
                let text = std::fs::read_to_string(&path).unwrap();
                into.push(Source { module, name: path.display().to_string(), text });
            }
        }
    }
    let mut sources = vec![];
    read(Path::new("src"), &[], &mut sources);
    // `lib.rs` and `main.rs` hold no code of their own, and files of tests may use anything.
    let is_of_tests = |name: &str| name.ends_with("tests") || name == "testing" || name == "test_log";
    sources.retain(|source| {
        !matches!(source.module[0].as_str(), "lib" | "main") && !source.module.iter().any(|name| is_of_tests(name))
    });
    sources
}

/// What a layer's own `mod.rs` re-exports: the name, and the module that it comes from.
fn reexports(sources: &[Source]) -> BTreeMap<Vec<String>, Vec<String>> {
    struct Exports(Vec<(String, Vec<String>)>);
    impl Exports {
        fn add(&mut self, path: &mut Vec<String>, tree: &UseTree) {
            match tree {
                UseTree::Path(next) => {
                    path.push(next.ident.to_string());
                    self.add(path, &next.tree);
                    path.pop();
                }
                UseTree::Name(name) => self.0.push((name.ident.to_string(), path.clone())),
                UseTree::Rename(name) => self.0.push((name.rename.to_string(), path.clone())),
                UseTree::Group(group) => group.items.iter().for_each(|tree| self.add(path, tree)),
                UseTree::Glob(_) => {}
            }
        }
    }
    let mut found = BTreeMap::new();
    for source in sources.iter().filter(|source| source.module.len() == 1) {
        for item in syn::parse_file(&source.text).unwrap().items {
            if let Item::Use(ItemUse { vis: syn::Visibility::Public(_), tree, .. }) = item {
                let mut exports = Exports(vec![]);
                exports.add(&mut vec![], &tree);
                for (name, path) in exports.0 {
                    let from = match path.first().map(String::as_str) {
                        Some("crate") => path[1..].to_vec(),
                        Some("self") => [source.module.as_slice(), &path[1..]].concat(),
                        _ => [source.module.as_slice(), &path].concat(),
                    };
                    found.insert([source.module.as_slice(), &[name]].concat(), from);
                }
            }
        }
    }
    found
}

/// All uses of one module by another.
fn arrows(sources: &[Source]) -> BTreeSet<Arrow> {
    let modules: BTreeSet<Vec<String>> =
        sources.iter().filter(|source| source.module.len() > 1).map(|source| source.module[..2].to_vec()).collect();
    let reexports = reexports(sources);
    let mut arrows = BTreeSet::new();
    for source in sources {
        let mut reader = Reader { module: source.module.clone(), paths: vec![] };
        reader.visit_file(&syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.name)));
        let module = |path: &[String]| -> Module {
            // A layer's own file is the module without a name.
            [path[0].clone(), path.get(1).cloned().unwrap_or_default()]
        };
        for path in reader.paths {
            if path.is_empty() || !ORDER.contains(&path[0].as_str()) {
                continue; // a macro of ours, which stands at the root of the crate
            }
            let target = match path.len() {
                1 => path.clone(),
                _ => match (modules.contains(&path[..2].to_vec()), reexports.get(&path[..2])) {
                    (true, _) => path[..2].to_vec(),
                    (false, Some(from)) => from.clone(),
                    (false, None) => path[..1].to_vec(),
                },
            };
            let (from, to) = (module(&source.module), module(&target));
            if from != to {
                arrows.insert(Arrow { from, to, place: format!("{}: {}", source.name, path.join("::")) });
            }
        }
    }
    arrows
}

fn rank(module: &Module) -> usize {
    ORDER.iter().position(|layer| *layer == module[0]).unwrap_or_else(|| panic!("{} is no layer", module[0]))
}

fn upwards(arrows: &BTreeSet<Arrow>) -> Vec<&Arrow> {
    arrows.iter().filter(|arrow| rank(&arrow.to) > rank(&arrow.from)).collect()
}

/// The modules that are in a circle: those that are left once modules without a use of another, or not used by another, are
/// taken away, again and again.
fn circles(arrows: &BTreeSet<Arrow>) -> BTreeSet<(Module, Module)> {
    let is_module = |module: &Module| !module[1].is_empty();
    let named = arrows.iter().filter(|arrow| is_module(&arrow.from) && is_module(&arrow.to));
    let mut left: BTreeSet<_> = named.map(|arrow| (arrow.from.clone(), arrow.to.clone())).collect();
    loop {
        let users: BTreeSet<_> = left.iter().map(|(from, _)| from.clone()).collect();
        let used: BTreeSet<_> = left.iter().map(|(_, to)| to.clone()).collect();
        let before = left.len();
        left.retain(|(from, to)| users.contains(to) && used.contains(from));
        if left.len() == before {
            return left;
        }
    }
}

fn printed(arrows: &[&Arrow]) -> String {
    arrows.iter().map(|arrow| format!("\n  {}", arrow.place)).collect()
}

#[test]
fn no_layer_uses_one_above_it() {
    let sources = sources();
    let arrows = arrows(&sources);
    let layers: BTreeSet<_> = sources.iter().map(|source| source.module[0].as_str()).collect();
    assert_eq!(layers, ORDER.into(), "each folder of src is a layer, and each layer has a folder");
    for pair in ORDER.windows(2).filter(|pair| !matches!(pair, ["base" | "contract" | "config", _])) {
        let uses = |arrow: &Arrow| arrow.from[0] == pair[1] && rank(&arrow.to) < rank(&arrow.from);
        assert!(arrows.iter().any(uses), "{} uses nothing below it: were its files read?", pair[1]);
    }
    let upwards = upwards(&arrows);
    assert!(upwards.is_empty(), "these use a layer above their own:{}", printed(&upwards));
}

#[test]
fn no_module_uses_one_that_uses_it_back() {
    let arrows = arrows(&sources());
    let circles = circles(&arrows);
    let places: Vec<_> =
        arrows.iter().filter(|arrow| circles.contains(&(arrow.from.clone(), arrow.to.clone()))).collect();
    assert!(places.is_empty(), "these modules use one another in a circle:{}", printed(&places));
}

/// An import that is turned up, and a circle, are found in whatever way they are written.
#[test]
fn an_arrow_upwards_and_a_circle_are_found() {
    let source = |module: &[&str], text: &str| Source {
        module: module.iter().map(|name| (*name).to_owned()).collect(),
        name: module.join("/"),
        text: text.to_owned(),
    };
    for text in [
        "use crate::api::caller::Caller;",
        "use crate::{api::Caller as Somebody};",
        "fn one() { crate::api::caller::new() }",
        "fn two() { let _ = vec![crate::api::Caller]; }",
        "macro_rules! three { () => { $crate::api::Caller }; }",
        "mod inner { use super::super::super::api::Caller; }",
    ] {
        let sources = [
            source(&["api"], "pub use caller::Caller;"),
            source(&["api", "caller"], "use crate::auth::Actor; pub struct Caller;"),
            source(&["db", "lease"], text),
        ];
        let found = arrows(&sources);
        let upwards = upwards(&found);
        assert_eq!(upwards.len(), 1, "{text}: {found:?}");
        assert_eq!(upwards[0].to, ["api".to_owned(), "caller".to_owned()], "{text}");
    }
    let (a, b) = (source(&["db", "a"], "use super::b::B;"), source(&["db", "b"], "use crate::db::a::A;"));
    let c = source(&["db", "c"], "use super::a::A; #[cfg(test)] mod tests { use crate::api::Caller; }");
    let found = arrows(&[a, b, c]);
    assert_eq!(circles(&found).len(), 2, "{found:?}");
    assert!(upwards(&found).is_empty(), "what is for tests does not count: {found:?}");
}
