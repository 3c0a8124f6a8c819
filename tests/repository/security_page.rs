//! `docs/security.md` names the tests for each attack: each attack must have one, and each test
//! must exist.

use std::{collections::BTreeSet, fs, path::Path};

use super::{rust_files, tests_in};

/// Also checks that the tests exist.
#[test]
fn every_attack_on_the_page_has_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = ["crates", "tests"].iter().flat_map(|folder| rust_files(&root.join(folder)));
    let known: BTreeSet<_> =
        files.flat_map(|file| tests_in(&fs::read_to_string(file).unwrap())).collect();
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
        let [attack, _, _, tests] = cells[..] else {
            panic!("the row does not have four cells: {row}")
        };
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{attack} has no test");
        assert!(
            named.iter().all(|name| known.contains(*name)),
            "{attack} names a test that does not exist"
        );
        attacks += 1;
    }
    assert!(attacks > 50, "{attacks}");
}
