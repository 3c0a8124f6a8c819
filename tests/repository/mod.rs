//! The repository itself: the direction of its dependencies, and what its documents claim about the
//! tests.

mod crate_graph;
mod import_cycles;
mod security_page;
mod test_names;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// All Rust files below a directory.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The names of the functions with a test attribute.
fn tests_in(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, name)) = line.split_once("fn ").filter(|_| marked) {
            names.push(name.split('(').next().unwrap().to_owned());
            marked = false;
        }
    }
    names
}
