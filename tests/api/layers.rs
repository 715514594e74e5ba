//! Checks the layers of `src`: each layer uses only the layers below it, and no two modules use each other, directly or
//! through others.
//!
//! Every file is read token by token, so that imports, paths in code and paths in macros are all found. Code for tests
//! is left out, because a test may use whatever it needs.
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// From the bottom up. `lib.rs` says what each layer contains. A layer may use those before it.
const ORDER: [&str; 11] =
    ["base", "contract", "config", "server", "db", "services", "auth", "api", "resources", "app", "cli"];

/// A module of a layer, such as `["db", "lease"]`.
type Module = [String; 2];

/// One use of a module by another: the file that has it, and the path that is written there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: Module,
    to: Module,
    place: String,
}

/// Reads the paths of one file.
struct Reader {
    /// The path of the module that is being read, such as `["db", "lease"]`.
    module: Vec<String>,
    /// Each path from the root of the crate, such as `["db", "lease", "ReadTx"]`.
    paths: Vec<Vec<String>>,
}

fn is_punct(token: Option<&TokenTree>, char: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == char)
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    is_punct(tokens.first(), ':') && is_punct(tokens.get(1), ':')
}

impl Reader {
    fn of(module: &[String], text: &str) -> Self {
        let mut reader = Self { module: module.to_vec(), paths: vec![] };
        reader.read(text.parse().unwrap());
        reader
    }

    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        while let Some(token) = rest.first() {
            rest = match token {
                TokenTree::Punct(_) if is_for_tests(rest) => after_item(&rest[2..]),
                TokenTree::Ident(ident) if ident == "mod" => self.read_module(&rest[1..]),
                TokenTree::Ident(ident) if ident == "crate" || ident == "super" => self.read_path(&[], rest),
                TokenTree::Ident(ident) if ident == "use" && !is_punct(rest.get(1), '<') => {
                    self.read_path(&[], &rest[1..])
                }
                TokenTree::Group(group) => {
                    self.read(group.stream());
                    &rest[1..]
                }
                _ => &rest[1..],
            };
        }
    }

    /// Reads `name { … }`, whose paths start one module deeper. Skips `name;`, which is in a file of its own.
    fn read_module<'a>(&mut self, rest: &'a [TokenTree]) -> &'a [TokenTree] {
        if let [TokenTree::Ident(name), TokenTree::Group(body), ..] = rest {
            self.module.push(name.to_string());
            self.read(body.stream());
            self.module.pop();
            return &rest[2..];
        }
        rest
    }

    /// Reads a path, or the tree of an import: `a::b`, `a::{b, c::d}`, `a::*`, `a as b`. Returns the tokens after it.
    fn read_path<'a>(&mut self, before: &[String], mut rest: &'a [TokenTree]) -> &'a [TokenTree] {
        let mut path = before.to_vec();
        loop {
            match rest.first() {
                Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for tree in inner.split(|token| is_punct(Some(token), ',')).filter(|tree| !tree.is_empty()) {
                        self.read_path(&path, tree);
                    }
                    return &rest[1..];
                }
                Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => {}
                _ => break,
            }
            rest = &rest[1..];
            if !is_path_separator(rest) {
                break;
            }
            rest = &rest[2..];
        }
        path.retain(|segment| segment != "self");
        self.add(&path);
        rest
    }

    /// Adds a path as it is written. Paths into other crates and within the module itself are ignored.
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
}

/// Whether `#[cfg(test)]` begins here.
fn is_for_tests(rest: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] = rest else { return false };
    hash.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// The tokens after the item that begins here, which ends with a `;` or braces.
fn after_item(rest: &[TokenTree]) -> &[TokenTree] {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_punct(Some(token), ';'),
    };
    rest.iter().position(is_end).map_or(&[], |end| &rest[end + 1..])
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
    // `lib.rs` and `main.rs` have no code of their own, and files of tests may use anything.
    let is_of_tests = |name: &str| name.ends_with("tests") || name == "testing" || name == "test_log";
    sources.retain(|source| {
        !matches!(source.module[0].as_str(), "lib" | "main") && !source.module.iter().any(|name| is_of_tests(name))
    });
    sources
}

/// The names that the `mod.rs` of a layer re-exports, and where they come from.
fn reexports(sources: &[Source]) -> BTreeMap<Vec<String>, Vec<String>> {
    let mut found = BTreeMap::new();
    for source in sources.iter().filter(|source| source.module.len() == 1) {
        let tokens: Vec<TokenTree> = source.text.parse::<TokenStream>().unwrap().into_iter().collect();
        let imports = tokens.split(|token| is_punct(Some(token), ';')).filter_map(|item| {
            let at = item.windows(2).position(|pair| pair[0].to_string() == "pub" && pair[1].to_string() == "use")?;
            Some(&item[at + 2..])
        });
        for import in imports {
            let first = import[0].to_string();
            let is_absolute = ["crate", "super", "self"].contains(&first.as_str());
            // A path that begins with a module of the layer is the same from within the layer.
            let before = if is_absolute { vec![] } else { [&["crate".to_owned()], source.module.as_slice()].concat() };
            let mut reader = Reader { module: source.module.clone(), paths: vec![] };
            reader.read_path(&before, import);
            for path in reader.paths {
                if let Some(name) = path.last().cloned() {
                    found.insert([source.module.as_slice(), &[name]].concat(), path);
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
        let reader = Reader::of(&source.module, &source.text);
        let module = |path: &[String]| -> Module {
            // A layer's own file is the module without a name.
            [path[0].clone(), path.get(1).cloned().unwrap_or_default()]
        };
        for path in reader.paths {
            if path.is_empty() || !ORDER.contains(&path[0].as_str()) {
                continue; // one of our macros, which are at the root of the crate
            }
            let target = match path.len() {
                1 => path.clone(),
                _ => match (modules.contains(&path[..2]), reexports.get(&path[..2])) {
                    (true, _) => path[..2].to_vec(),
                    (false, Some(from)) => from[..from.len().min(2)].to_vec(),
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

/// The uses among modules in circles. Modules that use no other module, or that no other module uses, are removed again
/// and again. The rest are in a circle or between two circles.
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

/// Groups of modules that count as one module here, because together they are one thing. Each module has to be in a
/// circle with the others of its group.
const KNOTS: [(&str, &[&str], &str); 3] = [
    (
        "db",
        &["any", "connect", "deadline", "pooler", "sql", "types"],
        "the connection: one type over three databases, and the SQL in which they differ",
    ),
    (
        "db",
        &["audit", "cache_versions", "change", "feed", "lease", "registered", "search"],
        "the lease, and the change that passes through it",
    ),
    (
        "config",
        &[
            "database_parts",
            "declare",
            "encryption",
            "layers",
            "names",
            "rate_limit",
            "reader",
            "sources",
            "types",
            "weak",
        ],
        "the loader: declarations name their readers, and the layers read what is declared",
    ),
];

#[test]
fn no_module_uses_one_that_uses_it_back() {
    let arrows = arrows(&sources());
    let in_circles: BTreeSet<_> = circles(&arrows).into_iter().flat_map(|(from, to)| [from, to]).collect();
    for (layer, modules, what) in KNOTS {
        for module in modules {
            let member = [layer.to_owned(), (*module).to_owned()];
            assert!(
                in_circles.contains(&member),
                "{layer}::{module} is in no circle: take it out of the knot ({what})"
            );
        }
    }
    let knotted = |[layer, name]: &Module| -> Module {
        let knot = KNOTS.iter().find(|(of, modules, _)| of == layer && modules.contains(&name.as_str()));
        [layer.clone(), knot.map_or_else(|| name.clone(), |(_, modules, _)| modules.join("+"))]
    };
    let between: BTreeSet<_> = arrows
        .iter()
        .map(|arrow| Arrow { from: knotted(&arrow.from), to: knotted(&arrow.to), place: arrow.place.clone() })
        .filter(|arrow| arrow.from != arrow.to)
        .collect();
    let circles = circles(&between);
    let places: Vec<_> =
        between.iter().filter(|arrow| circles.contains(&(arrow.from.clone(), arrow.to.clone()))).collect();
    assert!(places.is_empty(), "these modules use one another in a circle:{}", printed(&places));
}

/// An import of a layer above and a circle are found in whatever form they are written.
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
