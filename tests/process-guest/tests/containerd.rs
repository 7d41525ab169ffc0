//! Real containerd, of three generations, and the runtime as it is released, around a MODEL of a
//! guest: ordinary processes in place of a VM.
//!
//! Protects: what containerd is told is what happens in the guest: output, statuses, ends; what
//! the manifest does not list is refused with a sentence that `ctr` shows; nothing is left of a
//! pod, however it ends. Cannot tell: anything of a VM, of layers that a guest proves, of networks;
//! CRI, which kubelet speaks and `ctr` does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use casemate_pod::{Container, Kind, Manifest};
use casemate_process_guest::engine::Engine;
use casemate_process_guest::package::Release;
use casemate_process_guest::pod::{Bound, bind, container, manifest};
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

const RUNTIME: &str = "io.containerd.casemate-model.v2";

fn engine(release: Release) -> Option<Engine> {
    let program = Path::new(env!("CARGO_BIN_EXE_containerd-shim-casemate-model-v2"));
    // The MODEL lies beside it.
    assert!(Path::new(env!("CARGO_BIN_EXE_casemate-process-guest")).exists());
    Engine::start(
        Path::new(env!("CARGO_TARGET_TMPDIR")),
        program.parent().unwrap(),
        RUNTIME,
        release,
    )
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A pod of one container, and it.
fn alone(id: &str, line: &str) -> (Manifest, Container) {
    let one = container(id, line);
    (manifest(vec![one.clone()]), one)
}

fn output_and_exit_status_of_a_guest_s_program_come_back(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (pod, one) = alone("good", "cat /etc/which; echo complaint >&2; exit 0");
    let good = engine.run(&["--rm"], &bind(&pod, "good"), "good", &one.args);
    assert!(good.status.success(), "{}\n{}", said(&good), engine.log());
    assert_eq!(String::from_utf8_lossy(&good.stdout), "upper\n");
    assert_eq!(String::from_utf8_lossy(&good.stderr), "complaint\n");
    let (pod, one) = alone("three", "exit 3");
    let three = engine.run(&["--rm"], &bind(&pod, "three"), "three", &one.args);
    assert_eq!(three.status.code(), Some(3), "{}\n{}", said(&three), engine.log());
    assert!(engine.log().contains("MODEL"), "{}", engine.log());
    engine.finish();
}

fn all_output_has_come_when_the_end_is_told(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (pod, one) = alone("much", "head -c 3000000 /dev/zero");
    let much = engine.run(&["--rm"], &bind(&pod, "much"), "much", &one.args);
    assert_eq!(much.stdout.len(), 3_000_000, "{}", engine.log());
    // What the manifest keeps from the host does not come, and holds the program up no more.
    let (mut pod, one) = alone("silent", "head -c 3000000 /dev/zero; exit 5");
    pod.containers[0].stdio = "none".parse().unwrap();
    let silent = engine.run(&["--rm"], &bind(&pod, "silent"), "silent", &one.args);
    assert_eq!((silent.stdout.len(), silent.status.code()), (0, Some(5)), "{}", engine.log());
    engine.finish();
}

fn input_goes_where_the_manifest_lets_it(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    for (streams, comes) in [("out+in", "hello\n"), ("out", "")] {
        let (mut pod, one) = alone("input", "cat");
        pod.containers[0].stdio = streams.parse().unwrap();
        let words = engine.words(&["--rm"], &bind(&pod, streams), "input", &one.args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut ctr = engine.command(&words);
        let ctr = ctr.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ctr.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}\n{}", said(&output), engine.log());
        assert_eq!(String::from_utf8_lossy(&output.stdout), comes, "{streams}");
    }
    engine.finish();
}

fn a_terminal_is_there_where_the_manifest_has_one(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (mut pod, one) =
        alone("tty", "[ -t 0 ] && [ -t 1 ] && echo a terminal; sleep 1; stty size; exit 4");
    pod.containers[0].stdio = "out+in+tty".parse().unwrap();
    pod.containers[0].env.push("TERM=xterm".into());
    let words = engine.words(&["--rm", "-t"], &bind(&pod, "tty"), "tty", &one.args);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // `ctr -t` wants a terminal itself.
    let ctr = engine.command(&words);
    let quoted = std::iter::once(ctr.get_program()).chain(ctr.get_args());
    let quoted: Vec<String> = quoted.map(|word| format!("'{}'", word.display())).collect();
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &quoted.join(" "), "/dev/null"]).stdin(Stdio::null());
    let output = script.output().unwrap();
    assert!(said(&output).contains("a terminal"), "{}\n{}", said(&output), engine.log());
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    engine.finish();
}

fn listed_commands_run_beside_a_container_and_no_others(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (mut pod, one) = alone("web", "sleep 1000");
    let listed = |line: &str| ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    pod.containers[0].exec = vec![listed("echo probe; cat /etc/which"), listed("exit 3")];
    let run = engine.run(&["-d"], &bind(&pod, "exec"), "web", &one.args);
    assert!(run.status.success(), "{}\n{}", said(&run), engine.log());
    let exec = |engine: &Engine, id: &str, line: &str| {
        engine.ctr(&["task", "exec", "--exec-id", id, "web", "/bin/sh", "-c", line])
    };
    let probe = exec(&engine, "a", "echo probe; cat /etc/which");
    assert_eq!(String::from_utf8_lossy(&probe.stdout), "probe\nupper\n", "{}", said(&probe));
    assert_eq!(exec(&engine, "b", "exit 3").status.code(), Some(3));
    let refused = exec(&engine, "c", "echo stolen");
    assert!(!refused.status.success());
    assert!(said(&refused).contains("lists no command"), "{}", said(&refused));
    let metrics = engine.good(&["task", "metrics", "web"]);
    assert!(metrics.contains("memory"), "{metrics}");
    engine.good(&["task", "kill", "-s", "SIGKILL", "web"]);
    engine.until("the container ends", |engine| engine.status("web") == "STOPPED");
    engine.good(&["task", "delete", "web"]).clear();
    engine.finish();
}

fn signals_are_those_of_the_manifest_and_end_with_their_status(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    // The first process of its namespace hears what it has a handler for, as with other engines.
    let (pod, one) = alone("signals", "trap 'exit 7' TERM; while :; do sleep 1; done");
    let run = engine.run(&["-d"], &bind(&pod, "signals"), "signals", &one.args);
    assert!(run.status.success(), "{}\n{}", said(&run), engine.log());
    let usr1 = engine.ctr(&["task", "kill", "-s", "SIGUSR1", "signals"]);
    assert!(said(&usr1).contains("does not list signal 10"), "{}", said(&usr1));
    assert_eq!(engine.status("signals"), "RUNNING");
    engine.good(&["task", "kill", "-s", "SIGTERM", "signals"]);
    engine.until("the container ends", |engine| engine.status("signals") == "STOPPED");
    let deleted = engine.ctr(&["task", "delete", "signals"]);
    assert!(said(&deleted).contains("exit code 7"), "of its handler: {}", said(&deleted));
    // One that does not hear TERM goes on, and ends by KILL.
    let (pod, one) = alone("deaf", "sleep 1000");
    let run = engine.run(&["-d"], &bind(&pod, "deaf"), "deaf", &one.args);
    assert!(run.status.success(), "{}\n{}", said(&run), engine.log());
    engine.good(&["task", "kill", "-s", "SIGTERM", "deaf"]);
    assert_eq!(engine.status("deaf"), "RUNNING");
    engine.good(&["task", "kill", "-s", "SIGKILL", "deaf"]);
    engine.until("the container ends", |engine| engine.status("deaf") == "STOPPED");
    let deleted = engine.ctr(&["task", "delete", "deaf"]);
    assert!(said(&deleted).contains("137"), "128 and the signal: {}", said(&deleted));
    engine.finish();
}

/// A pod of a sandbox, as CRI makes it, and what `ctr` needs for each of its containers.
fn sandbox(id: &str, containers: Vec<Container>) -> (Bound, impl Fn(&str) -> Vec<String>) {
    let id = id.to_owned();
    let flags = move |name: &str| {
        let kind = if name.is_empty() { "sandbox" } else { "container" };
        let mut flags = vec!["-d".to_owned()];
        for (key, value) in
            [("container-type", kind), ("sandbox-id", &id), ("container-name", name)]
        {
            if !value.is_empty() {
                flags.push("--annotation".into());
                flags.push(format!("io.kubernetes.cri.{key}={value}"));
            }
        }
        flags
    };
    (bind(&manifest(containers), "sandbox"), flags)
}

fn run_in(engine: &mut Engine, flags: &[String], pod: &Bound, id: &str, args: &[String]) -> Output {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    engine.run(&flags, pod, id, args)
}

fn a_pod_has_one_guest_and_its_containers_in_their_order(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let mut first = container("first", "exit 0");
    first.kind = Kind::Init;
    let all = [first, container("web", "sleep 1000"), container("log", "sleep 1000")];
    let [first, web, log] = all.clone();
    let (pod, flags) = sandbox("pod", all.to_vec());
    let up = run_in(&mut engine, &flags(""), &pod, "pod", &[]);
    assert!(up.status.success(), "{}\n{}", said(&up), engine.log());
    let early = run_in(&mut engine, &flags("web"), &pod, "web", &web.args);
    assert!(said(&early).contains("comes after first"), "{}", said(&early));
    engine.good(&["container", "rm", "web"]);
    let up = run_in(&mut engine, &flags("first"), &pod, "first", &first.args);
    assert!(up.status.success(), "{}\n{}", said(&up), engine.log());
    engine.until("the init container ends", |engine| engine.status("first") == "STOPPED");
    for one in [&web, &log] {
        let up = run_in(&mut engine, &flags(&one.name), &pod, &one.name, &one.args);
        assert!(up.status.success(), "{}\n{}", said(&up), engine.log());
    }
    let runtimes = engine.processes();
    let runtimes = runtimes.iter().filter(|(_, line)| line.contains("serve"));
    assert_eq!(runtimes.count(), 1, "one runtime for the pod");
    let more = run_in(&mut engine, &flags("miner"), &pod, "miner", &web.args);
    assert!(said(&more).contains("no container \"miner\""), "{}", said(&more));
    let twice = run_in(&mut engine, &flags("web"), &pod, "web2", &web.args);
    assert!(said(&twice).contains("runs already"), "{}", said(&twice));
    // The pod ends, and everything in it.
    engine.good(&["task", "kill", "-s", "SIGKILL", "pod"]);
    engine.until("the pod ends", |engine| {
        ["pod", "web", "log"].iter().all(|id| engine.status(id) == "STOPPED")
    });
    for id in ["web", "log", "first", "pod"] {
        let _ = engine.ctr(&["task", "delete", id]);
    }
    engine.finish();
}

/// Processes of this machine that have this word in their command line.
fn with(word: &str) -> usize {
    let lines = std::fs::read_dir("/proc").unwrap().flatten();
    lines
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| line.split(|byte| *byte == 0).any(|one| one == word.as_bytes()))
        .count()
}

fn a_container_sees_no_process_but_its_own_and_none_outlives_it(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    // A word that no other process of this machine has.
    let word = format!("{}", 4_000_000 + u64::from(std::process::id()) * 10 + release as u64);
    let line = format!("busybox setsid sleep {word} & while ! [ -e /x ]; do sleep 1; done");
    let (first, web) = (container("first", &line), container("web", "sleep 1000"));
    let (mut first, mut web) = (first, web);
    let listed = |line: &str| ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    first.exec = vec![listed("echo > /x")];
    web.exec = vec![listed("cat /proc/[0-9]*/cmdline")];
    let (pod, flags) = sandbox("alone", vec![first.clone(), web.clone()]);
    let up = run_in(&mut engine, &flags(""), &pod, "alone", &[]);
    assert!(up.status.success(), "{}\n{}", said(&up), engine.log());
    for one in [&first, &web] {
        let up = run_in(&mut engine, &flags(&one.name), &pod, &one.name, &one.args);
        assert!(up.status.success(), "{}\n{}", said(&up), engine.log());
    }
    engine.until("the one that leaves its session runs", |_| with(&word) == 1);
    let exec = |id: &str, line: &str| {
        engine.ctr(&["task", "exec", "--exec-id", "a", id, "/bin/sh", "-c", line])
    };
    let seen = said(&exec("web", "cat /proc/[0-9]*/cmdline"));
    assert!(seen.contains("1000") && !seen.contains(&word), "{seen}");
    assert!(!seen.contains("casemate-process-guest"), "{seen}");
    let done = exec("first", "echo > /x");
    assert!(done.status.success(), "{}", said(&done));
    engine.until("the container ends", |engine| engine.status("first") == "STOPPED");
    assert_eq!(with(&word), 0, "nothing of it is left, and the pod runs");
    assert_eq!(engine.status("web"), "RUNNING");
    engine.good(&["task", "kill", "-s", "SIGKILL", "alone"]);
    engine.until("the pod ends", |engine| engine.status("alone") == "STOPPED");
    for id in ["web", "first", "alone"] {
        let _ = engine.ctr(&["task", "delete", id]);
    }
    engine.finish();
}

fn a_killed_guest_ends_its_containers_and_leaves_nothing(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (pod, one) = alone("lost", "sleep 1000");
    let run = engine.run(&["-d"], &bind(&pod, "lost"), "lost", &one.args);
    assert!(run.status.success(), "{}\n{}", said(&run), engine.log());
    for (pid, line) in engine.processes() {
        if line.starts_with("unshare") {
            let kill =
                std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            assert!(kill.unwrap().success());
        }
    }
    engine.until("the container has ended", |engine| engine.status("lost") == "STOPPED");
    let deleted = engine.ctr(&["task", "delete", "lost"]);
    assert!(said(&deleted).contains("137"), "{}", said(&deleted));
    engine.finish();
}

fn what_differs_from_the_manifest_is_refused_by_its_name(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (pod, one) = alone("differs", "exit 0");
    let pod = bind(&pod, "differs");
    let args = |line: &str| ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    let cases: [(&[&str], Vec<String>, &str); 8] = [
        (&[], args("exit 1"), "argument 2"),
        (&["--env", "LD_PRELOAD=/x.so"], one.args.clone(), "LD_PRELOAD"),
        (&["--cwd", "/tmp"], one.args.clone(), "its folder"),
        (&["--read-only"], one.args.clone(), "root"),
        (&["--cap-add", "CAP_SYS_ADMIN"], one.args.clone(), "capabilities"),
        (&["--net-host"], one.args.clone(), "hostNetwork"),
        (&["--mount", "type=bind,src=/etc,dst=/host,options=rbind"], one.args.clone(), "/host"),
        (&["--mount", "type=tmpfs,src=tmpfs,dst=/scratch"], one.args.clone(), "/scratch"),
    ];
    for (number, (flags, args, names)) in cases.into_iter().enumerate() {
        let id = format!("differs-{number}");
        let flags = [&["--rm"], flags].concat();
        let output = engine.run(&flags, &pod, &id, &args);
        assert!(!output.status.success(), "{flags:?}");
        assert!(said(&output).contains(names), "{names}: {}\n{}", said(&output), engine.log());
    }
    engine.finish();
}

fn a_pod_that_nothing_binds_is_refused_with_a_sentence(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (pod, one) = alone("unbound", "exit 0");
    let none = Bound { annotation: String::new(), ..bind(&pod, "unbound") };
    for (annotation, sentence) in [("", "no gzip"), ("?", "no base64"), ("AAAA", "no gzip")] {
        let pod = Bound { annotation: annotation.into(), ..none.clone() };
        let output = engine.run(&["--rm"], &pod, "unbound", &one.args);
        assert!(!output.status.success());
        assert!(said(&output).contains(sentence), "{}", said(&output));
    }
    let image = casemate_process_guest::image::NAME;
    let output = engine.ctr(&["run", "--rm", "--runtime", RUNTIME, image, "unbound"]);
    assert!(said(&output).contains("nothing binds this pod"), "{}", said(&output));
    engine.finish();
}

fn twenty_pods_at_once_have_each_its_own_status(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let mut children = Vec::new();
    for number in 0..20 {
        let (id, line) = (format!("many-{number}"), format!("exit {number}"));
        let (pod, one) = alone(&id, &line);
        let words = engine.words(&["--rm"], &bind(&pod, &id), &id, &one.args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut ctr = engine.command(&words);
        let child = ctr.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        children.push((number, child));
    }
    for (number, child) in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(number), "{}\n{}", said(&output), engine.log());
    }
    engine.finish();
}

fn a_restarted_containerd_finds_its_pods_alive(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (mut pod, one) = alone("lasting", "sleep 1000");
    pod.containers[0].exec = vec![vec!["/bin/true".into()]];
    let run = engine.run(&["-d"], &bind(&pod, "lasting"), "lasting", &one.args);
    assert!(run.status.success(), "{}\n{}", said(&run), engine.log());
    engine.stop();
    engine.again();
    engine.until("the task is found", |engine| engine.status("lasting") == "RUNNING");
    engine.good(&["task", "exec", "--exec-id", "a", "lasting", "/bin/true"]);
    engine.good(&["task", "kill", "-s", "SIGKILL", "lasting"]);
    engine.until("the container ends", |engine| engine.status("lasting") == "STOPPED");
    let _ = engine.ctr(&["task", "delete", "lasting"]);
    engine.finish();
}

fn a_killed_runtime_leaves_nothing(release: Release) {
    let Some(mut engine) = engine(release) else { return };
    let (pod, one) = alone("killed", "sleep 1000");
    let run = engine.run(&["-d"], &bind(&pod, "killed"), "killed", &one.args);
    assert!(run.status.success(), "{}\n{}", said(&run), engine.log());
    let all = engine.processes();
    let runtime = all.iter().find(|(_, line)| line.contains("serve")).unwrap().0;
    assert!(all.len() > 2, "a runtime and a guest: {all:?}");
    let killed = std::process::Command::new("kill").args(["-KILL", &runtime.to_string()]).status();
    assert!(killed.unwrap().success());
    engine.until("the task is gone", |engine| engine.status("killed").is_empty());
    engine.finish();
}

#[test]
#[ignore = "prints, and checks nothing"]
fn print_memory_of_a_runtime() {
    let Some(mut engine) = engine(Release::Debian12) else { return };
    let (pod, one) = alone("memory", "sleep 1000");
    let run = engine.run(&["-d"], &bind(&pod, "memory"), "memory", &one.args);
    assert!(run.status.success(), "{}\n{}", said(&run), engine.log());
    for (pid, line) in engine.processes() {
        let of = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let of = of.lines().filter(|line| line.starts_with("Pss:") || line.starts_with("Pss_Anon"));
        let part = if line.contains("serve") { "runtime" } else { "MODEL guest" };
        println!("{part}: {}", of.collect::<Vec<_>>().join(", "));
    }
    engine.good(&["task", "kill", "-s", "SIGKILL", "memory"]);
    engine.until("the container ends", |engine| engine.status("memory") == "STOPPED");
    let _ = engine.ctr(&["task", "delete", "memory"]);
    engine.finish();
}

/// Every case with every generation.
macro_rules! generations {
    ($($generation:ident: $release:ident,)*) => {$(
        mod $generation {
            use super::Release;
            generations! { @cases $release:
                output_and_exit_status_of_a_guest_s_program_come_back
                all_output_has_come_when_the_end_is_told
                input_goes_where_the_manifest_lets_it
                a_terminal_is_there_where_the_manifest_has_one
                listed_commands_run_beside_a_container_and_no_others
                signals_are_those_of_the_manifest_and_end_with_their_status
                a_pod_has_one_guest_and_its_containers_in_their_order
                what_differs_from_the_manifest_is_refused_by_its_name
                a_pod_that_nothing_binds_is_refused_with_a_sentence
                twenty_pods_at_once_have_each_its_own_status
                a_restarted_containerd_finds_its_pods_alive
                a_killed_runtime_leaves_nothing
                a_killed_guest_ends_its_containers_and_leaves_nothing
                a_container_sees_no_process_but_its_own_and_none_outlives_it
             }
        }
    )*};
    (@cases $release:ident: $($case:ident)*) => {$(
        #[test]
        fn $case() {
            super::$case(Release::$release);
        }
    )*};
}
generations! { containerd_1_6: Debian12, containerd_1_7: Debian13, containerd_2: Debian14, }
