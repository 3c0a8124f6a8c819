//! The files of a crate import one another without cycles, and only in allowed directions.
//!
//! Read from the source text: `use` declarations, and paths that begin with `crate::` or `super::`.
//! A re-export counts as the file that defines the item. Not read: unit tests, and calls of
//! methods, which need no import.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

/// A module's path below the crate's root.
type Module = Vec<String>;

fn child(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

/// The files of a crate, by module.
struct Sources {
    files: BTreeMap<Module, Source>,
}

#[derive(Default)]
struct Source {
    file: String,
    /// Paths that the file mentions, as they are written.
    mentions: BTreeSet<Vec<String>>,
    /// Names that the file re-exports, and from where.
    exports: BTreeMap<String, Vec<String>>,
}

impl Sources {
    fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![(root.to_owned(), Module::new())];
        while let Some((folder, module)) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
                if path.is_dir() {
                    folders.push((path, child(&module, &name)));
                } else if let Some(name) = name.strip_suffix(".rs") {
                    let is_root = matches!(name, "mod" | "lib" | "main");
                    let module = if is_root { module.clone() } else { child(&module, name) };
                    let file = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    files.insert(module, Source::parse(file, &fs::read_to_string(&path).unwrap()));
                }
            }
        }
        Self { files }
    }

    /// The module whose file defines what a path in a file names, if it is of this crate.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut module = match &*path[0] {
            "crate" => Module::new(),
            "self" => from.clone(),
            "super" => from[..from.len() - 1].to_vec(),
            name if self.files.contains_key(&child(from, name)) => child(from, name),
            _ => return None,
        };
        for name in &path[1..] {
            let child = child(&module, name);
            if name == "super" {
                module.pop();
            } else if self.files.contains_key(&child) {
                module = child;
            } else if let Some(export) =
                self.files.get(&module).and_then(|source| source.exports.get(name))
            {
                return self.resolve(&module, export).or(Some(module));
            } else {
                break;
            }
        }
        Some(module)
    }

    /// Which modules a module imports.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let mentions = self.files[module].mentions.iter();
        let mut imports: BTreeSet<_> =
            mentions.filter_map(|path| self.resolve(module, path)).collect();
        imports.remove(module);
        imports.retain(|import| self.files.contains_key(import));
        imports
    }
}

impl Source {
    fn parse(file: String, text: &str) -> Self {
        let mut source = Self { file, ..Self::default() };
        let text = code(text);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some((visibility, tree)) = declaration(line) else { continue };
            let mut tree = tree.to_owned();
            while !tree.contains(';') {
                tree += lines.next().expect("a declaration ends");
            }
            let mut paths = Vec::new();
            expand(tree.split(';').next().unwrap(), &[], &mut paths);
            if visibility.is_empty() {
                source.mentions.extend(paths.into_iter().map(|(path, _)| path));
            } else {
                source.exports.extend(paths.into_iter().map(|(path, name)| (name, path)));
            }
        }
        for start in ["crate::", "super::"] {
            for (at, _) in text.match_indices(start) {
                let is_path = |c: &char| c.is_alphanumeric() || matches!(c, '_' | ':');
                let path: String = text[at..].chars().take_while(is_path).collect();
                // A group or a glob follows: `expand` has read its paths.
                if !path.ends_with("::") {
                    source.mentions.insert(names(&path));
                }
            }
        }
        source
    }
}

/// The visibility and the tree of a `use` declaration that begins on a line.
fn declaration(line: &str) -> Option<(&str, &str)> {
    let (visibility, tree) = line.trim_start().split_once("use ")?;
    let visibility = visibility.trim_end();
    let is_visibility = visibility.is_empty() || visibility.starts_with("pub");
    (is_visibility && !visibility.contains(' ')).then_some((visibility, tree))
}

/// The code of a file: no comments, no texts, no unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Writes the tree of a `use` declaration as paths, each with the name that it is known by.
fn expand(tree: &str, prefix: &[String], paths: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    if let Some((path, group)) = tree.split_once('{') {
        let group = group.trim_end().strip_suffix('}').unwrap();
        let prefix = [prefix, &names(path)].concat();
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&group[start..at], &prefix, paths);
                    start = at + 1;
                }
                _ => {}
            }
        }
        expand(&group[start..], &prefix, paths);
    } else if !tree.is_empty() {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path = [prefix, &names(path)].concat();
        if path.len() > 1 && path.last().unwrap() == "self" {
            path.pop();
        }
        let name =
            if alias.is_empty() { path.last().unwrap().clone() } else { alias.trim().to_owned() };
        paths.push((path, name));
    }
}

fn names(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The cycles of a crate: sets of files of which each imports each other one, directly or through
/// others.
fn cycles(sources: &Sources) -> BTreeSet<BTreeSet<Module>> {
    let imports: BTreeMap<_, _> =
        sources.files.keys().map(|module| (module, sources.imports(module))).collect();
    let reached = |from: &Module| {
        let (mut reached, mut new) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = new.pop() {
            new.extend(
                imports[&module].iter().filter(|import| reached.insert((*import).clone())).cloned(),
            );
        }
        reached
    };
    let reached: BTreeMap<_, _> =
        sources.files.keys().map(|module| (module, reached(module))).collect();
    let cycle = |module| {
        let others = reached[module].iter().filter(|other| reached[other].contains(module));
        others.cloned().collect::<BTreeSet<_>>()
    };
    sources.files.keys().map(cycle).filter(|cycle| !cycle.is_empty()).collect()
}

#[test]
fn no_files_import_one_another_in_a_cycle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let (mut files, mut found) = (0, String::new());
    for folder in crates.chain([root.join("bench")]) {
        let sources = Sources::read(&folder.join("src"));
        files += sources.files.len();
        for cycle in cycles(&sources) {
            writeln!(found, "a cycle in {}:", folder.display()).unwrap();
            for module in &cycle {
                for import in sources.imports(module).intersection(&cycle) {
                    let (from, to) = (&sources.files[module].file, &sources.files[import].file);
                    writeln!(found, "  {from} imports {to}").unwrap();
                }
            }
        }
    }
    assert!(files > 100, "only {files} files were read");
    assert!(found.is_empty(), "{found}");
}

/// Both depend on what the server shares, so that one can change without the other.
#[test]
fn oauth_and_rpc_do_not_import_each_other() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/server/src");
    let sources = Sources::read(&server);
    for (from, to) in [("oauth", "rpc"), ("rpc", "oauth")] {
        let is_below =
            |module: &Module, folder: &str| module.first().is_some_and(|name| name == folder);
        let modules: Vec<_> =
            sources.files.keys().filter(|module| is_below(module, from)).collect();
        assert!(modules.len() > 3, "{from} was not read");
        for module in modules {
            let wrong = sources.imports(module).into_iter().find(|import| is_below(import, to));
            assert!(wrong.is_none(), "{} imports {wrong:?}", sources.files[module].file);
        }
    }
}

#[test]
fn imports_are_read_from_the_source() {
    let text = "use crate::{\n    a::{self, B as C},\n    d,\n};\npub(crate) use self::e::F;\n\
                fn f() { super::g::h() } // crate::comment\n#[cfg(test)]\nmod tests {\n    use crate::i;\n}\n";
    let source = Source::parse("x.rs".to_owned(), text);
    let mentions: Vec<_> = source.mentions.iter().map(|path| path.join("::")).collect();
    assert_eq!(mentions, ["crate::a", "crate::a::B", "crate::d", "super::g::h"]);
    assert_eq!(source.exports["F"].join("::"), "self::e::F");
}
