//! `docs/security.md` names the tests for each attack: each attack must have one, and each test
//! must exist.

use std::{collections::BTreeSet, fs, path::Path};

/// Collects the names of all tests below a directory.
fn tests_below(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_in(&fs::read_to_string(path).unwrap()));
        }
    }
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

/// And the tests exist.
#[test]
fn every_attack_on_the_page_has_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut known = BTreeSet::new();
    tests_below(&root.join("crates"), &mut known);
    tests_below(&root.join("tests"), &mut known);
    assert!(known.contains("every_attack_on_the_page_has_tests"), "no tests were read");
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack "));
    let mut attacks = 0;
    let words = page.split('`').skip(1).step_by(2);
    for name in words.filter(|word| word.matches('_').count() > 2 && !word.contains(' ')) {
        assert!(known.contains(name), "the page names {name}, which is not a test");
    }
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [attack, _, _, tests] = cells[..] else { panic!("the row does not have four cells: {row}") };
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{attack} has no test");
        assert!(named.iter().all(|name| known.contains(*name)), "{attack} names a test that does not exist");
        attacks += 1;
    }
    assert!(attacks > 50, "{attacks}");
}
