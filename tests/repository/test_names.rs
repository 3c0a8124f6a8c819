//! Tests have short names, and every file of this suite is compiled.

use std::{fs, path::Path};

use super::{rust_files, tests_in};

/// The limit in docs/style.md.
const MAX_WORDS: usize = 8;

#[test]
fn names_have_at_most_eight_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in
        ["crates", "tests", "bench"].iter().flat_map(|folder| rust_files(&root.join(folder)))
    {
        for name in tests_in(&fs::read_to_string(&file).unwrap()) {
            let words = name.split('_').count();
            assert!(words <= MAX_WORDS, "{name} has {words} words, in {}", file.display());
        }
    }
}

/// A file that no module declares is never compiled, and its tests never run.
#[test]
fn every_file_is_a_declared_module() {
    for file in rust_files(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        let (folder, name) = (file.parent().unwrap(), file.file_stem().unwrap().to_str().unwrap());
        let (parent, module) = match name {
            "main" => continue,
            "mod" => (folder.parent().unwrap(), folder.file_name().unwrap().to_str().unwrap()),
            name => (folder, name),
        };
        let parents = ["mod.rs", "main.rs"].map(|parent_file| parent.join(parent_file));
        let parent =
            fs::read_to_string(parents.iter().find(|file| file.exists()).unwrap()).unwrap();
        let is_declared = parent.lines().any(|line| line.ends_with(&format!("mod {module};")));
        assert!(is_declared, "{} is not compiled", file.display());
    }
}
