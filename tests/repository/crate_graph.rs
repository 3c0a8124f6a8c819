//! The workspace's crates depend on one another in one direction.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Each crate of the workspace, and the others that it may depend on. A row names only crates of
/// the rows above it, so the table cannot allow a cycle.
///
/// Not in the table by intent: `gatekey-core` to anything above it, `gatekey-server` to
/// `gatekey-store`, and `gatekey-telemetry` to what serves routes.
const ALLOWED: &[(&str, &[&str])] = &[
    ("gatekey-credentials", &[]),
    ("gatekey-proto", &[]),
    ("gatekey-outbound", &[]),
    ("gatekey-core", &["gatekey-credentials"]),
    ("gatekey-store", &["gatekey-core", "gatekey-credentials"]),
    ("gatekey-listener", &["gatekey-core"]),
    ("gatekey-telemetry", &["gatekey-core", "gatekey-credentials", "gatekey-outbound"]),
    ("gatekey-issuers", &["gatekey-core", "gatekey-credentials", "gatekey-outbound"]),
    (
        "gatekey-authn",
        &["gatekey-issuers", "gatekey-telemetry", "gatekey-core", "gatekey-credentials"],
    ),
    (
        "gatekey-gate",
        &[
            "gatekey-authn",
            "gatekey-telemetry",
            "gatekey-outbound",
            "gatekey-core",
            "gatekey-credentials",
            "gatekey-proto",
        ],
    ),
    (
        "gatekey-server",
        &[
            "gatekey-gate",
            "gatekey-authn",
            "gatekey-listener",
            "gatekey-issuers",
            "gatekey-outbound",
            "gatekey-telemetry",
            "gatekey-core",
            "gatekey-credentials",
            "gatekey-proto",
        ],
    ),
    ("gatekey-client", &["gatekey-credentials", "gatekey-outbound", "gatekey-proto"]),
    ("gatekey-python", &["gatekey-client", "gatekey-proto"]),
    (
        "gatekey",
        &[
            "gatekey-server",
            "gatekey-gate",
            "gatekey-listener",
            "gatekey-telemetry",
            "gatekey-store",
            "gatekey-core",
            "gatekey-client",
            "gatekey-outbound",
            "gatekey-credentials",
        ],
    ),
    ("gatekey-bench", &["gatekey-listener", "gatekey-credentials"]),
    ("gatekey-tests", &[]),
];

/// The crates of the workspace and those that each depends on, except for tests.
fn workspace() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        // Only crates of the workspace have a path.
        let ours =
            all.filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev");
        ours.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| (package["name"].as_str().unwrap().to_owned(), dependencies(package)))
        .collect()
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let workspace = workspace();
    for (crate_name, _) in ALLOWED {
        assert!(
            workspace.contains_key(*crate_name),
            "{crate_name} is not a crate of the workspace"
        );
    }
    for (crate_name, dependencies) in workspace {
        let row = ALLOWED.iter().find(|(name, _)| *name == crate_name);
        let (_, allowed) = row.unwrap_or_else(|| panic!("{crate_name} has no row in ALLOWED"));
        for dependency in dependencies {
            assert!(allowed.contains(&&*dependency), "{crate_name} may not depend on {dependency}");
        }
    }
}

#[test]
fn the_allowed_directions_form_no_cycle() {
    for (row, (crate_name, allowed)) in ALLOWED.iter().enumerate() {
        for dependency in *allowed {
            let above = ALLOWED[..row].iter().any(|(name, _)| name == dependency);
            assert!(above, "{crate_name} may depend on {dependency}, which has no row above it");
        }
    }
}
