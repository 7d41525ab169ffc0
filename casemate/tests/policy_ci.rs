//! Policies in continuous integration: `ci/policy` on a repository like `examples/audit-in-ci`.
//!
//! Protects: a change of a policy that is invalid, risky, fails its cases or admits more than
//! before is told with the policy's name and ends with status 1, whatever the file is called; a
//! change that is none of these passes; the commands that the definitions for hosted services name
//! exist. Cannot tell: what those services make of the definitions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs::{create_dir, read_to_string, write};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A repository with the example's policy, committed; removed when it is dropped.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("casemate-ci-{name}-{}", std::process::id()));
        create_dir(&place).unwrap();
        create_dir(place.join("policies")).unwrap();
        let repository = Self(place);
        for file in ["build-host.toml", "build-host.cases.toml"] {
            let example = format!("{ROOT}/examples/audit-in-ci/policies/{file}");
            std::fs::copy(example, repository.policies().join(file)).unwrap();
        }
        repository.git(&["init", "--quiet", "-b", "main"]);
        repository.git(&["add", "."]);
        repository.git(&["commit", "--quiet", "-m", "policies"]);
        repository
    }

    fn policies(&self) -> PathBuf {
        self.0.join("policies")
    }

    fn git(&self, args: &[&str]) {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        let git = Command::new("git").args(identity).args(args).current_dir(&self.0).output();
        let git = git.expect("git");
        assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    }

    /// Replaces `from`, which is there, in the policy.
    fn change(&self, from: &str, to: &str) {
        let file = self.policies().join("build-host.toml");
        let text = read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        write(file, text.replacen(from, to, 1)).unwrap();
    }

    /// The script's status, output and error output.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let script = Command::new(format!("{ROOT}/ci/policy"))
            .args(["--casemate", env!("CARGO_BIN_EXE_casemate")])
            .args(args)
            .current_dir(&self.0)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (script.status.code().unwrap(), text(script.stdout), text(script.stderr))
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_policy_that_admits_more_than_before_fails_and_one_that_admits_less_passes() {
    let repository = Repository::new("looser");
    let args = ["--base", "main", "policies"];
    let (status, out, err) = repository.run(&args);
    assert_eq!(status, 0, "{out}{err}");
    repository.change("vcpus = { min = 1, max = 4 }", "vcpus = { min = 1, max = 5 }");
    let (status, out, err) = repository.run(&args);
    assert_eq!(status, 1, "{out}{err}");
    assert!(err.contains("policies/build-host.toml: looser than before"), "{err}");
    assert!(out.contains("resources.vcpus"), "{out}");
    let said = repository.run(&["--base", "main", "--looser", "say", "policies"]);
    assert!(said.1.contains("it is looser than in main"), "{said:?}");
    repository.change("vcpus = { min = 1, max = 5 }", "vcpus = { min = 2, max = 4 }");
    let (status, out, err) = repository.run(&["--base", "main", "--fail-on", "never", "policies"]);
    // A case that the narrower policy denies is told: that is what cases are for.
    assert_eq!(status, 1, "{out}{err}");
    assert!(err.contains("build-host.toml: test") && !err.contains("looser"), "{err}");
}

#[test]
fn a_policy_that_is_none_is_named_and_those_after_it_are_still_checked() {
    let repository = Repository::new("none");
    write(repository.policies().join("a new\none.toml"), "schema_version = 7\n").unwrap();
    let (status, out, err) = repository.run(&["--base", "main", "policies"]);
    assert_eq!(status, 1, "{out}{err}");
    assert!(err.contains(r"a new\none.toml': check"), "{err}");
    assert!(out.contains("== policies/build-host.toml"), "{out}");
}

#[test]
fn findings_are_left_as_sarif_a_file_for_each_policy() {
    let repository = Repository::new("sarif");
    let (status, out, err) = repository.run(&["--sarif", "findings", "policies"]);
    assert_eq!(status, 0, "{out}{err}");
    let sarif = read_to_string(repository.0.join("findings/1.sarif")).unwrap();
    let sarif: serde_json::Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
}

#[test]
fn bad_use_is_status_2_with_one_line_that_says_what() {
    let repository = Repository::new("use");
    for (args, why) in [
        (&["--base", "nowhere", "policies"][..], "no commit nowhere"),
        (&["elsewhere"], "no such file or folder"),
        (&["--looser", "perhaps", "policies"], "--looser fail|say"),
        (&[], "Exit status"),
        (&[".git"], "no policy in"),
    ] {
        let (status, out, err) = repository.run(args);
        assert_eq!((status, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(why), "{args:?}: {err}");
    }
}

#[test]
fn commands_of_the_definitions_for_hosted_services_exist() {
    let mut seen = 0;
    for file in [
        ".github/workflows/ci.yml",
        ".github/workflows/fuzz.yml",
        ".gitlab-ci.yml",
        ".github/actions/policy/action.yml",
        "examples/audit-in-ci/.gitlab-ci.yml",
        ".pre-commit-hooks.yaml",
    ] {
        let text = read_to_string(Path::new(ROOT).join(file)).unwrap();
        // Every word that names a program of this tree, however it is reached.
        for word in text.split(|c: char| c.is_whitespace() || c == '"') {
            let Some(at) = [".ci/run", "fuzz/run", "fuzz/coverage", "ci/policy"]
                .iter()
                .find(|name| word == **name || word.ends_with(&format!("/{name}")))
            else {
                continue;
            };
            assert!(Path::new(ROOT).join(at).is_file(), "{file}: {word}");
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} commands seen");
}
