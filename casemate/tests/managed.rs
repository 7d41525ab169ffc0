//! Managing a running VM by `casemate ps`, `inspect`, `logs` and `stop`: the program against the
//! real supervisor, locked, with a guest of a few instructions. Cannot tell what other users see
//! (`hypervisor/tests/vm_name.rs` does), nor that a stock kernel hears the power button
//! (`tests/e2e/tests/signals.rs` does). Skipped, and said so, without /dev/kvm or not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_console::{HostConsole, Messages, Signals, Timeline, attend};
use casemate_hypervisor::config::RawConfig;
use casemate_hypervisor::vm::{End, Programs, prepare_plan};
use casemate_sandbox::{Child, Exit, Heap, Layer, Layers, Program, spawn};
use casemate_test_support::guests::{dx, echo, kvm, out, plan};
use casemate_test_support::sandbox::pipe;
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Output};

/// As the program has it.
#[global_allocator]
static HEAP: Heap = Heap::new();

static VMM: Program = Program::new("casemate-vmm", include_bytes!(env!("CASEMATE_VMM_IMAGE")));
static PROGRAMS: Programs<'_> =
    Programs { vmm: &VMM, device: include_bytes!(env!("CASEMATE_DEVICE_IMAGE")) };
const GOOD: i32 = 0;
const BAD: i32 = 9;

/// Prints `>` and hears nothing any more, the power button neither.
fn deaf() -> Vec<u8> {
    // cli; hlt; jmp to itself
    [&dx(0x3f8)[..], &out(b'>'), &[0xfa, 0xf4, 0xeb, 0xfd]].concat()
}

/// A supervisor with its guest; the guest's input.
struct Vm {
    name: String,
    supervisor: Child,
    keys: OwnedFd,
}

impl Vm {
    /// Ends with [`GOOD`] when the VM ended as `expected` says.
    fn start(test: &str, code: &[u8], expected: fn(&End) -> bool) -> Self {
        let name = format!("managed-{test}-{}", std::process::id());
        let (input, keys) = pipe();
        let no_layers = Layer::ALL.into_iter().fold(Layers::new("supervisor"), Layers::without);
        let raw = RawConfig {
            name: Some(name.clone()),
            kernel: Some("a kernel\x1b[2J".into()),
            protection: Some("none".into()),
            timeout: Some("3m".into()),
            grace: Some("2s".into()),
            ..RawConfig::default()
        };
        let plan = plan(code, 1);
        let body = move || {
            rustix::stdio::dup2_stdin(&input).unwrap();
            let config = raw.validate().unwrap();
            let prepared = prepare_plan(&config, plan, PROGRAMS).unwrap();
            let (signals, mut timeline) = (Signals::take_over().unwrap(), Timeline::start());
            let console = HostConsole::open(&config.console).unwrap();
            let vm = prepared.start().unwrap();
            let messages = Messages {
                say: &mut |_| (),
                to: rustix::stdio::stderr(),
                log: None,
                results: None,
            };
            let attended = attend(vm, console, &signals, &mut timeline, config.grace, messages);
            if expected(&attended.end) { GOOD } else { BAD }
        };
        let supervisor = spawn(no_layers, move |_born| body()).unwrap();
        let vm = Self { name, supervisor, keys };
        vm.until(|facts| facts.contains("\"state\":\"running\""));
        vm
    }

    fn says(&self, command: &[&str]) -> Output {
        casemate(&[&command[..1], &[&self.name], &command[1..]].concat())
    }

    /// Waits until what is known of it is as it should be.
    fn until(&self, is: fn(&str) -> bool) -> String {
        loop {
            let output = self.says(&["inspect", "--json"]);
            let text = String::from_utf8(output.stdout).unwrap();
            if output.status.success() && is(&text) {
                return text;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn ends(mut self) {
        assert_eq!(self.supervisor.wait().unwrap(), Exit::Code(GOOD));
        let gone = self.says(&["inspect"]);
        assert_eq!(gone.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&gone.stderr).contains("no VM called"));
    }
}

fn casemate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn a_running_vm_is_listed_and_told_of_and_what_its_user_wrote_steers_no_terminal() {
    let vm = Vm::start("shown", &echo(), |end| matches!(end, End::Killed));
    let listed = text(&casemate(&["ps"]));
    let line = listed.lines().find(|line| line.starts_with(&vm.name)).unwrap().to_owned();
    let pid = vm.supervisor.pid().to_string();
    for word in ["running", &pid, "256M", "none"] {
        assert!(line.split_whitespace().any(|found| found == word), "{word}: {line}");
    }
    let json = text(&casemate(&["ps", "--json"]));
    assert!(json.lines().any(|line| line.contains(&format!("\"name\":\"{}\"", vm.name))));
    let shown = vm.says(&["inspect"]);
    let shown = text(&shown);
    assert!(!shown.contains('\x1b') && shown.contains(r"a kernel\u{1b}[2J"), "{shown}");
    let supervisor = format!("  {pid:>7} supervisor, locked\n");
    assert!(shown.contains(&supervisor) && shown.contains(" vmm, locked\n"), "{shown}");
    let json = vm.until(|_| true);
    let facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&facts["vm"]["vcpus"], &facts["vm"]["grace_ms"]), (&1.into(), &2000.into()));
    let lines = text(&vm.says(&["logs"]));
    let (first, locked) = ("first guest instruction\n", "supervisor process is confined\n");
    assert!(lines.contains(first) && lines.contains(locked), "{lines}");
    assert_eq!(vm.says(&["stop", "--force"]).status.code(), Some(0));
    vm.ends();
}

fn a_guest_that_switches_itself_off_as_asked_is_waited_for() {
    let vm = Vm::start("asked", &echo(), |end| *end == End::PoweredOffAsAsked);
    let follower = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["logs", &vm.name, "--follow"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stopper =
        Command::new(env!("CARGO_BIN_EXE_casemate")).args(["stop", &vm.name]).spawn().unwrap();
    vm.until(|facts| facts.contains("\"state\":\"stopping\""));
    rustix::io::write(&vm.keys, b"i").unwrap();
    assert_eq!(stopper.wait_with_output().unwrap().status.code(), Some(0));
    vm.ends();
    let followed = follower.wait_with_output().unwrap();
    let lines = text(&followed);
    assert!(lines.contains("`casemate stop` asked the guest to power off\n"), "{lines}");
    assert!(followed.status.success(), "{followed:?}");
}

fn a_guest_that_does_not_listen_is_ended_after_its_grace_and_the_status_says_so() {
    let vm = Vm::start("deaf", &deaf(), |end| matches!(end, End::GraceOver(_)));
    assert_eq!(vm.says(&["stop"]).status.code(), Some(3));
    vm.ends();
}

/// Protects who manages VMs from a supervisor that was stopped: each command ends, and says who
/// does not answer.
fn a_supervisor_that_was_stopped_is_not_waited_for_without_end() {
    let vm = Vm::start("stopped", &deaf(), |end| matches!(end, End::Killed));
    let pid = Pid::from_raw(vm.supervisor.pid().cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    for command in [&["inspect"][..], &["logs"], &["stop"], &["stop", "--force"]] {
        let output = vm.says(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("does not answer") && said.lines().count() == 1, "{said}");
    }
    let listed = casemate(&["ps"]);
    assert!(listed.status.success() && !text(&listed).contains(&vm.name));
    assert!(String::from_utf8_lossy(&listed.stderr).contains(&vm.name));
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(vm.says(&["stop", "--force"]).status.code(), Some(0));
    vm.ends();
}

/// Protects an auditor: the page of a running VM has what the kernel says of each process now, and
/// what the VM's user wrote makes nothing of it.
fn the_page_of_a_running_vm_has_each_process_as_the_kernel_has_it() {
    let vm = Vm::start("audit", &deaf(), |end| matches!(end, End::Killed));
    let file = std::env::temp_dir().join(format!("casemate-audit-{}.html", std::process::id()));
    let output = casemate(&["audit", &vm.name, "-o", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
    let shown: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
    let has = |text: &str| shown.iter().any(|found| found.contains(text));
    let pid = vm.supervisor.pid();
    assert!(has(&format!("supervisor (process {pid})")) && has("vmm (process "), "{page}");
    assert!(
        has("no_new_privs") && has("a kernel\\u{1b}[2J") && has("anon_inode:kvm-vcpu:0"),
        "{page}"
    );
    assert!(page.len() < 500_000 && !page.contains('\x1b'), "{}", page.len());
    assert_eq!(vm.says(&["stop", "--force"]).status.code(), Some(0));
    vm.ends();
}

fn main() -> ExitCode {
    if kvm().is_none() {
        return ExitCode::SUCCESS;
    }
    casemate_test_support::sandbox::main(&[
        (
            "a_running_vm_is_listed_and_told_of_and_what_its_user_wrote_steers_no_terminal",
            a_running_vm_is_listed_and_told_of_and_what_its_user_wrote_steers_no_terminal,
        ),
        (
            "a_guest_that_switches_itself_off_as_asked_is_waited_for",
            a_guest_that_switches_itself_off_as_asked_is_waited_for,
        ),
        (
            "a_guest_that_does_not_listen_is_ended_after_its_grace_and_the_status_says_so",
            a_guest_that_does_not_listen_is_ended_after_its_grace_and_the_status_says_so,
        ),
        (
            "the_page_of_a_running_vm_has_each_process_as_the_kernel_has_it",
            the_page_of_a_running_vm_has_each_process_as_the_kernel_has_it,
        ),
        (
            "a_supervisor_that_was_stopped_is_not_waited_for_without_end",
            a_supervisor_that_was_stopped_is_not_waited_for_without_end,
        ),
    ])
}
