//! The recorder as the program starts it: what it may do, that it alone has the decision log and
//! its key, and what it writes whatever it is told. Skipped, and said so, not as root; what needs a
//! running VM, without /dev/kvm.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_console::{HostConsole, Messages, Signals, Timeline, attend};
use casemate_hypervisor::config::{RawConfig, RawConsole};
use casemate_hypervisor::vm::name::ask;
use casemate_hypervisor::vm::profile::{RECORDER, recorder_layers};
use casemate_hypervisor::vm::protocol::Denied;
use casemate_hypervisor::vm::recorder::message::{FromRecorder, LONGEST_ANSWER, ToRecorder};
use casemate_hypervisor::vm::recorder::tally::MOST_RECORDS;
use casemate_hypervisor::vm::recorder::{Logging, Recorder, RecorderError, Starting, WRITTEN};
use casemate_hypervisor::vm::{End, ProcessKind, Programs, name::Running, prepare_plan};
use casemate_policy::log::{DecisionRecord, DenialsRecord, Entry, Record, Verifier};
use casemate_policy::{Facts, PageRule, Point, Policy};
use casemate_policy_log::{LogFile, generate_key, open_key, read_head, read_key, read_public_key};
use casemate_sandbox::{Child, Exit, Layer, Layers, Observer, Program, inspect, spawn};
use casemate_test_support::guests::{echo, kvm, plan};
use casemate_test_support::sandbox::{assert_least, memory_has};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, read_dir, read_link, read_to_string};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_RECORDER_IMAGE"));
static VMM: Program = Program::new("casemate-vmm", include_bytes!(env!("CASEMATE_VMM_IMAGE")));

/// A folder with a key, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("casemate-recorder-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let place = Self(path);
        generate_key(&place.path("key")).unwrap();
        place
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn file(&self) -> LogFile {
        LogFile { head: Some(self.path("head")), ..LogFile::new(&self.path("log")) }
    }
    fn names(&self) -> Vec<String> {
        let names = read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
    fn records(&self) -> Vec<Record> {
        let text = read_to_string(self.path("log")).unwrap();
        text.lines().map(|line| Record::parse(line.as_bytes()).unwrap().0).collect()
    }
    fn denials(&self) -> Vec<DenialsRecord> {
        let denials = |record: Record| match record.entry {
            Entry::Denials(denials) => Some(denials),
            _ => None,
        };
        self.records().into_iter().filter_map(denials).collect()
    }
    /// The log is whole, signed and closed, and its head file knows its end.
    fn assert_good(&self) {
        let key = read_public_key(&self.path("key.pub")).unwrap();
        let head = read_head(&self.path("head")).unwrap();
        let mut verifier = Verifier::new(Some(key), Some(head));
        let bytes = std::fs::read(self.path("log")).unwrap();
        let whole = bytes.strip_suffix(b"\n").unwrap();
        whole.split(|byte| *byte == b'\n').for_each(|line| drop(verifier.line(line)));
        let report = verifier.finish(&[]);
        assert!(report.is_good() && report.closed, "{:?}", report.problems);
        assert_eq!(report.last, Some(head));
    }
    fn start_with(&self, before: impl FnOnce(&Child)) -> Result<Starting, RecorderError> {
        let key = Some(open_key(&self.path("key")).unwrap());
        let logging = Logging { file: self.file(), key, image: IMAGE };
        Starting::new(logging, recorder_layers(), before)
    }
    fn start(&self) -> Result<Recorder, RecorderError> {
        Ok(self.start_with(|_| ())?.opened()?.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Logs a start, as a supervisor does.
fn decide(recorder: &mut Recorder, vm: &str) {
    let (policy, facts) = (Policy::builtin_strict(), Facts::new());
    let decision = policy.decide(Point::Access, &facts);
    let record = DecisionRecord::new(policy.hash(), Point::Access, &facts, &decision);
    recorder.decision(record).unwrap();
    for rule in PageRule::ALL {
        recorder.may_be_denied(DenialsRecord::none_yet(&policy, rule, vm)).unwrap();
    }
    recorder.release().unwrap();
}

fn tell(control: &OwnedFd, message: &ToRecorder) {
    send(control, &message.encode(), SendFlags::NOSIGNAL).unwrap();
}

fn denied(rule: PageRule, times: u64) -> ToRecorder {
    ToRecorder::Denied(Denied { rule: rule.into(), times, pages: times.saturating_mul(3) })
}

/// Ends a recorder by closing its socket, as the end of a supervisor does.
fn end((mut process, control): (Child, OwnedFd)) -> Exit {
    drop(control);
    process.wait().unwrap()
}

/// Protects the host from who takes over a recorder, through a log that was made for it.
fn image_of_the_recorder_uses_every_rule_of_its_profile_and_makes_no_other_call() {
    let place = Place::new("least");
    // A log with a torn end, and a head file that is longer than a head.
    let key = Some(read_key(&place.path("key")).unwrap());
    LogFile { key, ..place.file() }.open().unwrap().0.close().unwrap();
    let mut log = File::options().append(true).open(place.path("log")).unwrap();
    log.write_all(b"{\"seq\":").unwrap();
    let mut head = File::options().append(true).open(place.path("head")).unwrap();
    head.write_all(&[b' '; 99]).unwrap();
    let lock = place.path("log.lock");
    let mut observer = None;
    let started = place.start_with(|child| observer = Some(Observer::attach(child).unwrap()));
    let user = std::thread::spawn(move || {
        let (mut recorder, dropped) = started.unwrap().opened().unwrap();
        decide(&mut recorder, "vm");
        let (mut process, control) = recorder.into_parts();
        // Another writer has the log.
        let lock = File::options().append(true).open(lock).unwrap();
        lock.lock().unwrap();
        tell(&control, &denied(PageRule::Changes, 1));
        let call = format!("/proc/{}/syscall", process.pid());
        let sleeps = || read_to_string(&call).is_ok_and(|now| now.starts_with(CLOCK_NANOSLEEP));
        while !sleeps() && process.wait_at_most(1).unwrap().is_none() {}
        lock.unlock().unwrap();
        drop(control);
        // Not waited for here: this thread would take the stops that the observer waits for.
        (process, dropped)
    });
    let observed = observer.unwrap().finish().unwrap();
    let (mut process, dropped) = user.join().unwrap();
    assert_least(&observed, &RECORDER);
    assert_eq!((process.wait().unwrap(), dropped), (Exit::Code(WRITTEN), 7));
    place.assert_good();
    assert_eq!(place.denials().len(), 2, "the first, and the end");
}

/// `__NR_clock_nanosleep`, by which a thread sleeps, as /proc/PID/syscall begins.
const CLOCK_NANOSLEEP: &str = "230 ";

/// Protects the host from a recorder: what is in force is what was asked for. Cannot tell what
/// landlock refuses: the sandbox's tests do.
fn recorder_is_locked_as_the_kernel_tells_and_has_three_files() {
    let place = Place::new("locked");
    let (mut process, control) = place.start().unwrap().into_parts();
    let report = process.confined().unwrap().clone();
    for layer in Layer::ALL {
        assert_eq!(report.is_applied(layer), !layer.only_where_asked(), "{layer}\n{report}");
    }
    let told = inspect(process.pid()).unwrap();
    assert_eq!((told.seccomp_mode, told.seccomp_filters, told.uid), (2, 1, 65534), "{told}");
    assert!(told.threads_agree && told.no_new_privs, "{told}");
    assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    let open = told.descriptors.as_ref().unwrap().values().filter(|what| !what.contains("null"));
    let mut open: Vec<&str> = open.map(|what| what.rsplit('/').next().unwrap()).collect();
    open.sort_unstable();
    assert!(
        matches!(open[..], ["head", "log", "log.lock", socket] if socket.starts_with("socket:")),
        "{open:?}"
    );
    assert_eq!(end((process, control)), Exit::Code(WRITTEN));
}

/// Protects the host's disk, and the log, from a guest and from who took over a vmm process.
fn whatever_counts_come_a_vm_has_a_bounded_number_of_records_that_name_its_start() {
    let place = Place::new("bounded");
    let mut recorder = place.start().unwrap();
    decide(&mut recorder, "mine");
    let (process, control) = recorder.into_parts();
    // As an honest vmm process counts, as one that was taken over does, and beyond all numbers.
    let counts = (1..5000).chain([7, 0, u64::MAX, 3, u64::MAX - 1]).chain(5000..9000);
    for count in counts {
        tell(&control, &denied(PageRule::Changes, count));
        tell(&control, &denied(PageRule::Shared, 9000 - count.min(8000)));
    }
    assert_eq!(end((process, control)), Exit::Code(WRITTEN));
    place.assert_good();
    let denials = place.denials();
    let of = |rule: PageRule| denials.iter().filter(move |record| record.rule == rule.path());
    for rule in PageRule::ALL {
        let counts: Vec<u64> = of(rule).map(|record| record.times).collect();
        assert!(counts.len() <= MOST_RECORDS, "{} records", counts.len());
        assert!(counts.is_sorted(), "{counts:?}");
        assert!(of(rule).next_back().unwrap().ended);
    }
    assert_eq!(of(PageRule::Shared).map(|d| d.times).collect::<Vec<_>>(), [8999, 9000]);
    for record in &denials {
        assert_eq!((record.vm.as_str(), record.policy), ("mine", Policy::builtin_strict().hash()));
        let start = usize::try_from(record.start).unwrap();
        let decided = &place.records()[start].entry;
        assert!(matches!(decided, Entry::Decision(d) if d.point == Point::Access));
    }
}

/// Protects the chain from VMs that run at the same time and share a log.
fn recorders_of_several_vms_share_a_log_while_their_guests_are_denied() {
    let place = Place::new("shared");
    let running: Vec<_> = ["a", "b", "c"]
        .map(|vm| {
            let mut recorder = place.start().unwrap();
            decide(&mut recorder, vm);
            recorder.into_parts()
        })
        .into();
    for bit in 0..10 {
        for (_, control) in &running {
            tell(control, &denied(PageRule::Changes, 1 << bit));
        }
    }
    let mut late = place.start().unwrap();
    decide(&mut late, "late");
    for vm in running.into_iter().chain([late.into_parts()]) {
        assert_eq!(end(vm), Exit::Code(WRITTEN));
    }
    place.assert_good();
    for vm in ["a", "b", "c"] {
        let of_vm = place.denials().into_iter().filter(|record| record.vm == vm);
        assert_eq!(of_vm.count(), 11, "{vm}: ten counts and the end");
    }
}

/// Protects what was logged while a VM runs, also from who can write log and head file: the
/// recorder remembers the last record that it wrote.
fn a_log_that_is_put_back_while_a_vm_runs_ends_its_recorder() {
    let place = Place::new("put-back");
    decide(&mut place.start().unwrap(), "before");
    let old = ["log", "head"].map(|name| std::fs::read(place.path(name)).unwrap());
    type Attack<'a> = (&'a str, &'a dyn Fn());
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path(name), bytes).unwrap();
    let attacks: [Attack<'_>; 3] = [
        ("both put back", &|| {
            write("log", &old[0]);
            write("head", &old[1]);
        }),
        ("emptied", &|| write("log", b"")),
        ("its head file emptied", &|| write("head", b"")),
    ];
    for (name, attack) in attacks {
        write("log", &old[0]);
        write("head", &old[1]);
        let mut recorder = place.start().unwrap();
        decide(&mut recorder, "vm");
        let (mut process, control) = recorder.into_parts();
        attack();
        tell(&control, &denied(PageRule::Changes, 1));
        let mut packet = [0; LONGEST_ANSWER];
        let (len, _) = recv(&control, &mut packet[..], RecvFlags::empty()).unwrap();
        let said = FromRecorder::decode(&packet[..len]).unwrap();
        assert!(matches!(said, FromRecorder::Failed { .. }), "{name}: {said:?}");
        assert_ne!(process.wait().unwrap(), Exit::Code(WRITTEN), "{name}");
    }
}

/// Protects the start from a log that anybody who can write it has made. Every refusal has words:
/// the recorder is not ended by its own lock.
fn a_log_made_to_be_dear_to_read_is_refused_in_words_and_nothing_is_left_behind() {
    let place = Place::new("dear");
    let deep = format!("{}{}", "[".repeat(32_000), "]".repeat(32_000));
    let lines = [
        "x".repeat(65_536),
        format!("[{}]", "0,".repeat(32_000)),
        format!("[{}]", "0.1,".repeat(16_000)),
        format!("{{{}}}", "\"a\":[],".repeat(9_000)),
        format!("[{}]", "\"\",".repeat(21_000)),
        format!("[{}]", "{},".repeat(21_000)),
        deep,
        "\u{1}".repeat(65_000),
    ];
    for line in &lines {
        std::fs::write(place.path("log"), format!("{line}\n{line}\n")).unwrap();
        let refused = place.start().unwrap_err();
        assert!(
            matches!(&refused, RecorderError::Refused { bad_input: true, .. }),
            "{line:.20}: {refused:?}"
        );
        assert_eq!(place.names(), ["key", "key.pub", "log"], "no head file was there before");
    }
    std::fs::remove_file(place.path("log")).unwrap();
    std::fs::write(place.path("key"), "no key\n").unwrap();
    assert!(matches!(place.start(), Err(RecorderError::Refused { bad_input: true, .. })));
    assert_eq!(place.names(), ["key", "key.pub"], "what was made for nothing is removed");
}

/// A running VM with a log, whose guest waits for a key that nobody presses.
struct Vm {
    supervisor: Child,
    processes: Vec<Running>,
}

/// How a supervisor's VM ended, as its exit status.
const ENDED_AS_ASKED: i32 = 4;
const RECORDER_DIED: i32 = 5;

/// The supervisor, as the program is one, but with a hand-made guest and its console in a file.
fn supervise(place: &Place, name: &str) -> i32 {
    let mut recorder = place.start().unwrap();
    decide(&mut recorder, name);
    let raw = RawConfig {
        name: Some(name.into()),
        kernel: Some("unused".into()),
        protection: Some("none".into()),
        timeout: Some("5m".into()),
        console: Some(RawConsole::File(place.path("console"))),
        ..RawConfig::default()
    };
    let config = raw.validate().unwrap();
    // No device: its program is not looked at.
    let programs = Programs { vmm: &VMM, device: &[] };
    let prepared = prepare_plan(&config, plan(&echo(), 1), programs).unwrap().logged_by(recorder);
    let (signals, mut timeline) = (Signals::take_over().unwrap(), Timeline::start());
    let console = HostConsole::open(&config.console).unwrap();
    let vm = prepared.start().unwrap();
    let mut say = |line: &str| drop(writeln!(std::io::stderr(), "casemate: {line}"));
    let messages =
        Messages { say: &mut say, to: rustix::stdio::stderr(), log: None, results: None };
    match attend(vm, console, &signals, &mut timeline, config.grace, messages).end {
        End::Killed => ENDED_AS_ASKED,
        End::ProcessDied { kind: ProcessKind::Recorder, .. } => RECORDER_DIED,
        end => {
            eprintln!("{end:?}");
            1
        }
    }
}

fn run(place: &Place, name: &str) -> Option<Vm> {
    kvm()?;
    let no_layers = Layer::ALL.into_iter().fold(Layers::new("supervisor"), Layers::without);
    let mut supervisor = spawn(no_layers, |_born| supervise(place, name)).unwrap();
    // The guest prints when it waits.
    let is_there = || std::fs::read(place.path("console")).is_ok_and(|bytes| !bytes.is_empty());
    while !is_there() {
        assert_eq!(supervisor.wait_at_most(5).unwrap(), None, "it ended");
    }
    let processes = ask(name).unwrap();
    Some(Vm { supervisor, processes })
}

impl Vm {
    fn pid(&self, kind: ProcessKind) -> u32 {
        self.processes.iter().find(|process| process.kind == kind).unwrap().pid
    }
    /// How its supervisor ended. No other process of it is left.
    fn finish(self) -> Exit {
        let Self { mut supervisor, processes } = self;
        let exit = supervisor.wait().unwrap();
        assert!(processes.iter().all(|process| !process.is_alive()));
        exit
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Protects the key: it never was in the memory of any process but the recorder, from the start of
/// the VM on. Cannot tell what the kernel's page cache has: a file that was read.
fn no_process_but_the_recorder_has_the_log_or_its_key() {
    let place = Place::new("alone");
    // The supervisor is a copy of this process, which must not know the key either.
    for name in ["key", "key.pub"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    let program = env!("CARGO_BIN_EXE_casemate");
    let made = Command::new(program).args(["log", "key"]).arg(place.path("key")).output().unwrap();
    assert!(made.status.success());
    let Some(vm) = run(&place, &format!("alone-{}", std::process::id())) else { return };
    let digits = read_to_string(place.path("key")).unwrap().trim().to_owned();
    let seed: Vec<u8> = (digits.as_bytes().chunks(2))
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect();
    // RFC 8032, 5.1.5: what signs is made of the SHA-512 of the seed, its second half as it is.
    let expanded = ring::digest::digest(&ring::digest::SHA512, &seed);
    let signs = &expanded.as_ref()[32..];
    let own = ["log", "head", "key"].map(|name| place.path(name).canonicalize().unwrap());
    let mut kinds = Vec::new();
    for process in &vm.processes {
        kinds.push(process.kind);
        let is_recorder = process.kind == ProcessKind::Recorder;
        assert_eq!(memory_has(process.pid, signs), is_recorder, "{}", process.kind);
        if !is_recorder {
            for secret in [&seed[..], digits.as_bytes(), &expanded.as_ref()[1..31]] {
                assert!(!memory_has(process.pid, secret), "{}", process.kind);
            }
        }
        let open = read_dir(format!("/proc/{}/fd", process.pid)).unwrap();
        let open: Vec<_> = open.filter_map(|fd| read_link(fd.ok()?.path()).ok()).collect();
        let has = own.each_ref().map(|path| open.contains(path));
        assert_eq!(has, [is_recorder, is_recorder, false], "{}: {open:?}", process.kind);
    }
    let wanted = [ProcessKind::Supervisor, ProcessKind::Vmm, ProcessKind::Recorder];
    assert_eq!(kinds, wanted);
    let supervisor = vm.pid(ProcessKind::Supervisor);
    signal(supervisor, Signal::TERM);
    signal(supervisor, Signal::QUIT);
    assert_eq!(vm.finish(), Exit::Code(ENDED_AS_ASKED));
    place.assert_good();
}

/// Protects the promise of the log: a VM that is to be logged does not run unlogged.
fn a_vm_ends_with_its_recorder() {
    let place = Place::new("killed");
    let Some(vm) = run(&place, &format!("killed-{}", std::process::id())) else { return };
    signal(vm.pid(ProcessKind::Recorder), Signal::KILL);
    assert_eq!(vm.finish(), Exit::Code(RECORDER_DIED));
    place.assert_good();
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        image_of_the_recorder_uses_every_rule_of_its_profile_and_makes_no_other_call,
        recorder_is_locked_as_the_kernel_tells_and_has_three_files,
        whatever_counts_come_a_vm_has_a_bounded_number_of_records_that_name_its_start,
        recorders_of_several_vms_share_a_log_while_their_guests_are_denied,
        a_log_that_is_put_back_while_a_vm_runs_ends_its_recorder,
        a_log_made_to_be_dear_to_read_is_refused_in_words_and_nothing_is_left_behind,
        no_process_but_the_recorder_has_the_log_or_its_key,
        a_vm_ends_with_its_recorder,
    ])
}
