//! Whom the files and directories that Gatekey trusts belong to, and who else can use them.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rcgen::CertifiedKey;
use serde_json::Value;

use super::{fails, json, stdout};
use crate::support::{
    ServerProcess, gatekey, run,
    user::{ALICE, MALLORY, gatekey_as, is_root, open_directory},
};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A data directory of this user with an admin key.
struct Used {
    directory: tempfile::TempDir,
    data_dir: PathBuf,
}

impl Used {
    fn new() -> Self {
        let directory = open_directory();
        let data_dir = directory.path().join("data");
        stdout(&run(&["init", "--data-dir", data_dir.to_str().unwrap()]));
        Self { directory, data_dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data_dir.join(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gives all files to a user.
    fn give_to(&self, user: u32) {
        chown(&self.data_dir, Some(user), Some(user)).unwrap();
        for file in fs::read_dir(&self.data_dir).unwrap() {
            chown(file.unwrap().path(), Some(user), Some(user)).unwrap();
        }
    }

    fn run(&self, words: &[&str]) -> Output {
        self.by(&mut gatekey(), words)
    }

    fn by(&self, command: &mut Command, words: &[&str]) -> Output {
        command.args(words).arg("--data-dir").arg(&self.data_dir).output().unwrap()
    }
}

/// `serve` on a free port.
const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// The warnings that a server logged about groups.
fn group_warnings(server: &ServerProcess) -> Vec<Value> {
    let is_one =
        |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("fsGroup"));
    server.log().into_iter().filter(is_one).collect()
}

/// Kubernetes makes each file of a volume readable and writable for `fsGroup` at each mount.
#[test]
fn a_volume_with_fsgroup_is_accepted() {
    let used = Used::new();
    for _ in 0..2 {
        set_mode(&used.data_dir, 0o2770);
        for name in ["root.key", "gatekey.db", "lock", "ca.pem"] {
            set_mode(&used.file(name), 0o660);
        }
        let mut server = ServerProcess::start_on(&used.data_dir, &[]);
        server.wait_for_log("serving");
        let warnings = group_warnings(&server);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(mode(&used.file("root.key")), 0o660, "the volume's modes are its own");
        assert!(server.terminate().success());
    }
    let doctor = used.run(&["doctor", "--output", "json"]);
    let steps = json(&doctor)["steps"].clone();
    let warned = steps.as_array().unwrap().iter().filter(|step| step["state"] == "warning");
    let warned: Vec<_> = warned.map(|step| step["step"].as_str().unwrap().to_owned()).collect();
    assert_eq!(warned, ["data directory", "root key"]);
}

#[test]
fn a_database_is_narrowed_where_possible() {
    let used = Used::new();
    for open in [0o660, 0o644, 0o664] {
        set_mode(&used.file("gatekey.db"), open);
        stdout(&used.run(&["ledger", "list"]));
        assert_eq!(mode(&used.file("gatekey.db")), 0o600);
    }
}

/// Someone else may have changed it before it is narrowed.
#[test]
fn a_database_everyone_can_write_is_refused() {
    let used = Used::new();
    let database = used.file("gatekey.db");
    for open in [0o602, 0o606, 0o666] {
        set_mode(&database, open);
        for words in [&SERVE[..], &["init", "--name", "b"], &["ledger", "list"]] {
            let stderr = fails(&used.run(words), 1);
            assert!(stderr.contains("gatekey.db can be written by every user"), "{stderr}");
            assert!(stderr.contains("chmod o-w"), "{stderr}");
        }
        let doctor = used.run(&["doctor"]);
        assert_eq!(doctor.status.code(), Some(8));
        assert!(String::from_utf8_lossy(&doctor.stdout).contains("chmod o-w"));
        assert_eq!(mode(&database), open, "nothing was changed");
    }
}

/// The line of a command looks like its other warnings, wherever its output goes.
#[test]
fn commands_print_warnings_about_files_plainly() {
    let used = Used::new();
    set_mode(&used.file("root.key"), 0o640);
    set_mode(&used.data_dir, 0o770);
    for words in [&["ledger", "list"][..], &["signing-key", "list"], &["init", "--name", "b"]] {
        let output = used.run(words);
        stdout(&output);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let is_warning = |line: &str| line.starts_with("warning: ") && line.contains("fsGroup");
        assert!(stderr.lines().any(is_warning), "{words:?}: {stderr}");
        assert!(!stderr.contains('{'), "{words:?}: {stderr}");
    }
}

#[test]
fn config_check_reports_the_files_serve_reports() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(path("cert.pem"), cert.pem()).unwrap();
    fs::write(path("key.pem"), signing_key.serialize_pem()).unwrap();
    let used = Used::new();
    let (cert, key, root_key) = (path("cert.pem"), path("key.pem"), used.file("root.key"));
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let named = ["--root-key-file", root_key.to_str().unwrap()];
    for (file, flags, open, part) in
        [(&key, &tls[..], 0o640, "fsGroup"), (&root_key, &named, 0o640, "fsGroup")]
    {
        set_mode(file, open);
        let output = run(&[&["config", "check"], flags].concat());
        stdout(&output);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let is_warning = |line: &str| line.starts_with("warning: ") && line.contains(part);
        assert!(stderr.lines().any(is_warning), "{stderr}");
        assert!(stderr.contains(file.to_str().unwrap()), "{stderr}");
    }
    set_mode(&root_key, 0o644);
    let stderr = fails(&run(&[&["config", "check"], &named[..]].concat()), 1);
    assert!(stderr.contains("chmod 600"), "{stderr}");
    if is_root() {
        set_mode(&key, 0o644);
        let output = run(&[&["config", "check"], &tls[..]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("every user of this machine can read the TLS key"), "{stderr}");
    }
}

/// Gatekey chose the name; a link that the operator names is followed.
#[test]
fn the_default_directory_may_not_be_a_link() {
    let used = Used::new();
    let here = used.path("here");
    fs::create_dir(&here).unwrap();
    let default = |words: &[&str]| gatekey().args(words).current_dir(&here).output().unwrap();
    for target in [used.data_dir.clone(), used.path("absent")] {
        symlink(&target, here.join("gatekey-data")).unwrap();
        for words in [
            &SERVE[..],
            &["init", "--name", "b"],
            &["ledger", "list"],
            &["ledger", "follow"],
            &["ca"],
            &["quickstart", "--once", "--listen", "127.0.0.1:0"],
        ] {
            let stderr = fails(&default(words), 1);
            assert!(stderr.contains("is a symbolic link"), "{words:?}: {stderr}");
            assert!(stderr.contains("--data-dir gatekey-data"), "{words:?}: {stderr}");
        }
        assert!(!used.path("absent").exists());
        if target == used.data_dir {
            stdout(&default(&["ledger", "list", "--data-dir", "gatekey-data"]));
            stdout(&default(&["doctor", "--data-dir", "gatekey-data"]));
            let by_variable = &mut gatekey();
            by_variable.args(["ca"]).env("GATEKEY_DATA_DIR", "gatekey-data").current_dir(&here);
            stdout(&by_variable.output().unwrap());
        }
        fs::remove_file(here.join("gatekey-data")).unwrap();
    }
}

/// As `OpenShift`'s arbitrary user ids, or a changed `runAsUser`.
#[test]
fn another_users_database_is_named() {
    if !is_root() {
        return;
    }
    let used = Used::new();
    used.give_to(ALICE);
    chown(used.file("gatekey.db"), Some(MALLORY), Some(ALICE)).unwrap();
    set_mode(&used.file("gatekey.db"), 0o660);
    let stderr = fails(&used.by(&mut gatekey_as(ALICE, ALICE), &SERVE), 1);
    let expected = format!("gatekey.db belongs to uid {MALLORY}");
    assert!(stderr.contains(&expected) && !stderr.contains("chmod"), "{stderr}");
}

/// A volume whose files belong to root, which a pod uses through its group.
#[test]
fn a_database_of_root_is_used_by_group() {
    if !is_root() {
        return;
    }
    let used = Used::new();
    for name in ["", "root.key", "gatekey.db", "lock"] {
        chown(used.file(name), Some(0), Some(ALICE)).unwrap();
        set_mode(&used.file(name), if name.is_empty() { 0o2770 } else { 0o660 });
    }
    stdout(&used.by(&mut gatekey_as(ALICE, ALICE), &["ledger", "list"]));
    assert_eq!(mode(&used.file("gatekey.db")), 0o660, "only root could narrow it");
}

/// The files of a Secret belong to root, and are links to links.
#[test]
fn a_mounted_secret_is_read_by_group() {
    if !is_root() {
        return;
    }
    let used = Used::new();
    let secret = used.path("secret");
    fs::create_dir_all(secret.join("..2026")).unwrap();
    fs::rename(used.file("root.key"), secret.join("..2026/root.key")).unwrap();
    symlink("..2026", secret.join("..data")).unwrap();
    symlink("..data/root.key", secret.join("root.key")).unwrap();
    used.give_to(ALICE);
    let root_key = secret.join("root.key");
    let words = ["ledger", "list", "--root-key-file", root_key.to_str().unwrap()];
    chown(&root_key, Some(0), Some(ALICE)).unwrap();
    set_mode(&root_key, 0o440);
    let output = used.by(&mut gatekey_as(ALICE, ALICE), &words);
    stdout(&output);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("fsGroup"), "{stderr}");
    // The Secret's default, which the pod cannot change.
    set_mode(&root_key, 0o444);
    let stderr = fails(&used.by(&mut gatekey_as(ALICE, ALICE), &words), 1);
    assert!(stderr.contains("defaultMode: 0440"), "{stderr}");
    // Without the group it cannot be read: the message names its owner.
    set_mode(&root_key, 0o400);
    let stderr = fails(&used.by(&mut gatekey_as(ALICE, ALICE), &words), 1);
    assert!(
        stderr.contains("cannot read the root key") && stderr.contains("root (uid 0)"),
        "{stderr}"
    );
}

#[test]
fn every_command_checks_the_root_key() {
    let used = Used::new();
    let backup = used.path("backup");
    let (backup, new) = (backup.to_str().unwrap(), used.path("new"));
    stdout(&used.run(&["backup", backup]));
    let root_key = used.file("root.key");
    let (root_key, new) = (root_key.to_str().unwrap(), new.to_str().unwrap());
    for exposed in [0o604, 0o644, 0o602, 0o666] {
        set_mode(Path::new(root_key), exposed);
        let commands = [
            used.run(&SERVE),
            used.run(&["init", "--name", "another"]),
            used.run(&["ledger", "list"]),
            used.run(&["root-key", "rotate"]),
            used.run(&["signing-key", "list"]),
            run(&["root-key", "new", "--root-key-file", root_key, "/dev/null/new.key"]),
            run(&["restore", backup, "--data-dir", new, "--root-key-file", root_key]),
        ];
        for output in commands {
            let stderr = fails(&output, 1);
            assert!(stderr.contains("by every user") && stderr.contains("chmod 600"), "{stderr}");
        }
        let doctor = used.run(&["doctor"]);
        assert_eq!(doctor.status.code(), Some(8));
        assert!(String::from_utf8_lossy(&doctor.stdout).contains("chmod 600"));
    }
}

#[test]
fn a_rotation_keeps_the_groups_access() {
    let used = Used::new();
    for kept in [0o660, 0o640, 0o440, 0o600] {
        set_mode(&used.file("root.key"), kept);
        if is_root() {
            chown(used.file("root.key"), None, Some(ALICE)).unwrap();
        }
        stdout(&used.run(&["root-key", "rotate"]));
        assert_eq!(mode(&used.file("root.key")), kept);
    }
}

#[test]
fn another_users_directory_is_refused() {
    if !is_root() {
        return;
    }
    let used = Used::new();
    used.give_to(MALLORY);
    set_mode(&used.data_dir, 0o755);
    let before = fs::read(used.file("lock")).unwrap();
    for words in [&SERVE[..], &["init"], &["ledger", "list"], &["quickstart", "--once"]] {
        for mut command in [gatekey(), gatekey_as(ALICE, ALICE)] {
            let stderr = fails(&used.by(&mut command, words), 1);
            assert!(stderr.contains(&format!("uid {MALLORY}")), "{words:?}: {stderr}");
        }
    }
    assert_eq!(fs::read(used.file("lock")).unwrap(), before);
    let doctor = used.by(&mut gatekey_as(ALICE, ALICE), &["doctor"]);
    assert_eq!(doctor.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(&format!("uid {MALLORY}")));
}

/// As `sudo gatekey doctor` does on a service's directory.
#[test]
fn root_may_read_another_users_directory() {
    if !is_root() {
        return;
    }
    let used = Used::new();
    used.give_to(ALICE);
    stdout(&used.run(&["doctor"]));
    let root_key = used.path("elsewhere.key");
    fs::rename(used.file("root.key"), &root_key).unwrap();
    stdout(&used.run(&["doctor", "--root-key-file", root_key.to_str().unwrap()]));
    assert!(stdout(&used.run(&["ca"])).contains("BEGIN CERTIFICATE"));
}

/// In a directory that all users share, someone else created the default data directory first.
#[test]
fn a_planted_directory_harms_no_one() {
    if !is_root() {
        return;
    }
    let shared = open_directory();
    set_mode(shared.path(), 0o1777);
    let home = open_directory();
    let victim = home.path().join("authorized_keys");
    fs::write(&victim, "a key").unwrap();
    for path in [home.path(), &victim] {
        chown(path, Some(ALICE), Some(ALICE)).unwrap();
    }
    let planted = shared.path().join("gatekey-data");
    let quickstart = || {
        let mut command = gatekey_as(ALICE, ALICE);
        command.args(["quickstart", "--once", "--listen", "127.0.0.1:0"]);
        fails(&command.current_dir(shared.path()).output().unwrap(), 1)
    };
    fs::create_dir(&planted).unwrap();
    symlink(&victim, planted.join("lock")).unwrap();
    symlink(home.path().join("profile"), planted.join(".gitignore")).unwrap();
    chown(&planted, Some(MALLORY), Some(MALLORY)).unwrap();
    set_mode(&planted, 0o777);
    let stderr = quickstart();
    assert!(stderr.contains(&format!("belongs to uid {MALLORY}")), "{stderr}");
    // A link to a directory of the victim.
    fs::remove_dir_all(&planted).unwrap();
    symlink(home.path(), &planted).unwrap();
    std::os::unix::fs::lchown(&planted, Some(MALLORY), Some(MALLORY)).unwrap();
    let stderr = quickstart();
    assert!(stderr.contains(&format!("symbolic link of uid {MALLORY}")), "{stderr}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "a key");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_world_writable_directory_is_refused() {
    let used = Used::new();
    let before = fs::read(used.file("lock")).unwrap();
    for open in [0o777, 0o1777, 0o703] {
        set_mode(&used.data_dir, open);
        for words in [&SERVE[..], &["init"], &["ledger", "list"], &["quickstart", "--once"]] {
            let stderr = fails(&used.run(words), 1);
            assert!(stderr.contains("use a subdirectory"), "{words:?}: {stderr}");
        }
    }
    assert_eq!(fs::read(used.file("lock")).unwrap(), before, "nothing was written");
    let subdirectory = used.file("gatekey");
    let mut server = ServerProcess::start_on(&subdirectory, &[]);
    assert_eq!(mode(&subdirectory), 0o700);
    assert!(server.terminate().success());
}

#[test]
fn no_link_inside_the_directory_is_followed() {
    for name in ["lock", "root.key", "gatekey.db", "gatekey.db-wal", "gatekey.db-shm"] {
        let used = Used::new();
        let victim = used.path("victim");
        if fs::rename(used.file(name), &victim).is_err() {
            fs::write(&victim, "").unwrap();
        }
        let before = fs::read(&victim).unwrap();
        symlink(&victim, used.file(name)).unwrap();
        for words in [&SERVE[..], &["ledger", "list"], &["quickstart", "--once"]] {
            let output = used.run(words);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{name} {words:?}");
            assert!(
                stderr.contains("is a symbolic link") || words[0] == "quickstart",
                "{name} {words:?}: {stderr}"
            );
        }
        assert_eq!(fs::read(&victim).unwrap(), before, "{name}");
    }
}

/// Files that are replaced rather than read: what a link points to is neither read nor changed.
#[test]
fn links_inside_the_directory_are_replaced() {
    let used = Used::new();
    let victim = used.path("victim");
    let read = format!(
        "{{\"url\":\"https://elsewhere\",\"ca_file\":null,\"pid\":1,{}",
        "\"organization\":\"\"}"
    );
    fs::write(&victim, &read).unwrap();
    for name in ["server.json", "ca.pem", "ca-bundle.pem", ".gitignore"] {
        let _ = fs::remove_file(used.file(name));
        let to = if name == ".gitignore" { used.path("absent") } else { victim.clone() };
        symlink(to, used.file(name)).unwrap();
    }
    let made = json(&used.run(&["init", "--name", "b", "--output", "json"]));
    assert_eq!(made["endpoint"], "https://127.0.0.1:8443", "the linked file is not read");
    let mut server = ServerProcess::start_on(&used.data_dir, &[]);
    assert!(server.terminate().success());
    assert_eq!(fs::read_to_string(&victim).unwrap(), read);
    assert!(!used.path("absent").exists());
}

#[test]
fn a_named_root_key_may_be_a_link() {
    let used = Used::new();
    let real = used.path("real.key");
    fs::rename(used.file("root.key"), &real).unwrap();
    symlink(&real, used.file("root.key")).unwrap();
    let stderr = fails(&used.run(&["ledger", "list"]), 1);
    assert!(stderr.contains("--root-key-file"), "{stderr}");
    let linked = used.file("root.key");
    stdout(&used.run(&["ledger", "list", "--root-key-file", linked.to_str().unwrap()]));
}

#[test]
fn a_config_everyone_can_write_is_refused() {
    let used = Used::new();
    let config = used.path("gatekey.toml");
    fs::write(&config, "[limits]\nfailed_authentications_per_minute = 0\n").unwrap();
    let shown = config.to_str().unwrap();
    for open in [0o666, 0o602] {
        set_mode(&config, open);
        for output in [
            used.run(&[&SERVE[..], &["--config", shown]].concat()),
            run(&["config", "check", "--config", shown]),
            used.run(&["ledger", "list", "--config", shown]),
        ] {
            let stderr = fails(&output, 2);
            assert!(stderr.contains("chmod o-w"), "{stderr}");
        }
    }
    set_mode(&config, 0o644);
    stdout(&run(&["config", "check", "--config", shown]));
    if is_root() {
        chown(&config, Some(MALLORY), None).unwrap();
        let stderr = fails(&run(&["config", "check", "--config", shown]), 2);
        assert!(stderr.contains(&format!("belongs to uid {MALLORY}")), "{stderr}");
    }
}

#[test]
fn a_passphrase_everyone_can_read_is_refused() {
    let used = Used::new();
    let (passphrase, backup) = (used.path("passphrase"), used.path("backup"));
    fs::write(&passphrase, "correct horse\n").unwrap();
    let words =
        ["backup", backup.to_str().unwrap(), "--passphrase-file", passphrase.to_str().unwrap()];
    for open in [0o644, 0o666, 0o602] {
        set_mode(&passphrase, open);
        let stderr = fails(&used.run(&words), 2);
        assert!(stderr.contains("chmod 600"), "{stderr}");
        assert!(!backup.exists());
    }
    set_mode(&passphrase, 0o640);
    stdout(&used.run(&words));
    set_mode(&passphrase, 0o644);
    let new = used.path("new");
    let restore = ["restore", words[1], "--data-dir", new.to_str().unwrap(), words[2], words[3]];
    fails(&run(&restore), 2);
}

/// As `pass show gatekey | gatekey backup --passphrase-file /dev/stdin` does.
#[test]
fn a_passphrase_may_come_from_a_pipe() {
    let used = Used::new();
    let mut child = gatekey()
        .args(["backup", used.path("backup").to_str().unwrap()])
        .args(["--passphrase-file", "/dev/stdin", "--data-dir", used.data_dir.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse\n").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_tls_key_everyone_can_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let (chain, key) = (path("cert.pem"), path("key.pem"));
    fs::write(&chain, cert.pem()).unwrap();
    fs::write(&key, signing_key.serialize_pem()).unwrap();
    let (chain, shown) = (chain.to_str().unwrap(), key.to_str().unwrap());
    let flags = ["--tls-cert", chain, "--tls-key", shown];
    let data_dir = path("data");
    let serve = [&SERVE[..], &["--data-dir", data_dir.to_str().unwrap()], &flags[..]].concat();
    for open in [0o666, 0o602] {
        set_mode(&key, open);
        for words in [&serve[..], &[&["config", "check"], &flags[..]].concat()] {
            let stderr = fails(&run(words), 1);
            assert!(stderr.contains("key.pem") && stderr.contains("every user"), "{stderr}");
        }
    }
    // Mounted Secrets are root's, and readable by all; a key of one's own must not be.
    set_mode(&key, 0o644);
    if is_root() {
        let server = ServerProcess::start_on(&path("served"), &flags);
        server.wait_for_log("every user of this machine can read the TLS key");
        chown(&key, Some(ALICE), None).unwrap();
    }
    fails(&run(&serve), 1);
}

#[test]
fn an_unwritable_directory_is_named() {
    if !is_root() {
        return;
    }
    let used = Used::new();
    used.give_to(ALICE);
    for mode in [0o500, 0o600] {
        set_mode(&used.data_dir, mode);
        for words in [&SERVE[..], &["init", "--name", "b"]] {
            let stderr = fails(&used.by(&mut gatekey_as(ALICE, ALICE), words), 1);
            assert!(stderr.contains("data directory") && stderr.contains("Permission"), "{stderr}");
            assert!(!stderr.contains("readonly database"), "{stderr}");
        }
    }
    set_mode(&used.data_dir, 0o500);
    let stderr = fails(&used.by(&mut gatekey_as(ALICE, ALICE), &SERVE), 1);
    assert!(
        stderr.contains("cannot write to the data") && stderr.contains("chmod u+wx"),
        "{stderr}"
    );
    // A directory of root's that a group may only read.
    used.give_to(0);
    set_mode(&used.data_dir, 0o755);
    let stderr = fails(&used.by(&mut gatekey_as(ALICE, ALICE), &SERVE), 1);
    assert!(
        stderr.contains("cannot write to the data") && stderr.contains("root (uid 0)"),
        "{stderr}"
    );
}

#[test]
fn permission_denied_is_not_a_missing_database() {
    if !is_root() {
        return;
    }
    let used = Used::new();
    let ledger = fails(&used.by(&mut gatekey_as(ALICE, ALICE), &["ledger", "list"]), 1);
    let doctor = used.by(&mut gatekey_as(ALICE, ALICE), &["doctor"]);
    assert_eq!(doctor.status.code(), Some(8));
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    for text in [&ledger, &doctor] {
        assert!(text.contains("Permission denied") && text.contains("root (uid 0)"), "{text}");
        assert!(!text.contains("restore a backup") && !text.contains("no Gatekey"), "{text}");
    }
    // A database that only root can read, in a directory that everyone can enter.
    set_mode(&used.data_dir, 0o755);
    let doctor = used.by(&mut gatekey_as(ALICE, ALICE), &["doctor"]);
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("root (uid 0)") && !doctor.contains("restore a backup"), "{doctor}");
}

fn serve_until_ready(used: &Used, command: &mut Command) -> Child {
    let mut server = command
        .args(SERVE)
        .args(["--data-dir", used.data_dir.to_str().unwrap()])
        .args(["--ready-file", used.file("ready").to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !used.file("ready").exists() {
        assert!(server.try_wait().unwrap().is_none(), "the server did not start");
        std::thread::yield_now();
    }
    server
}

/// Root administers the server of another user through its socket.
#[test]
fn root_may_administer_another_users_server() {
    if !is_root() {
        return;
    }
    let used = Used::new();
    used.give_to(ALICE);
    let mut server = serve_until_ready(&used, &mut gatekey_as(ALICE, ALICE));
    let socket = mode(&used.file("control.sock"));
    let listed = used.run(&["ledger", "list"]);
    server.kill().unwrap();
    server.wait().unwrap();
    stdout(&listed);
    assert_eq!(socket, 0o600);
}

/// A request can contain a passphrase, so it goes only to a server of this user or of root.
#[test]
fn another_users_socket_gets_no_request() {
    if !is_root() {
        return;
    }
    let (used, other) = (Used::new(), Used::new());
    used.give_to(ALICE);
    other.give_to(MALLORY);
    let mut server = gatekey_as(MALLORY, MALLORY);
    let mut server = serve_until_ready(&other, &mut server);
    fs::rename(other.file("control.sock"), used.file("control.sock")).unwrap();
    set_mode(&used.file("control.sock"), 0o666);
    let lock = fs::File::open(used.file("lock")).unwrap();
    lock.lock().unwrap();
    let output = used.by(&mut gatekey_as(ALICE, ALICE), &["ledger", "list"]);
    server.kill().unwrap();
    server.wait().unwrap();
    let stderr = fails(&output, 1);
    assert!(stderr.contains(&format!("runs as uid {MALLORY}")), "{stderr}");
}
