//! Processes that begin from an image: what they have of their parent, and that they are confined
//! like others.
//!
//! The image is this program itself, which is started by its name. It is linked dynamically, unlike
//! the images of the product; that those need nothing of a file system, their own tests tell.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_sandbox::{
    Action, Born, Child, Exit, FdTable, Given, Image, Layer, Layers, Program, SandboxError,
    inspect, spawn_image,
};
use casemate_test_support::sandbox::{MINIMAL, as_ordinary_user, drain, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

/// What this program is called as an image.
const NAME: &str = "casemate-test-image";

/// The image's main function.
fn image() -> ExitCode {
    let (born, mut given) = match Born::of_image() {
        Ok(both) => both,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(90);
        }
    };
    match given.start.clone().as_slice() {
        b"tell" => tell(born, &mut given),
        b"wait" => wait(born, &mut given),
        b"lock" => lock(born),
        other => panic!("{other:?}"),
    }
}

/// Tells of its environment, arguments and descriptors.
fn tell(born: Born, given: &mut Given) -> ExitCode {
    let to = given.descriptor().unwrap();
    let args: Vec<String> = std::env::args().collect();
    let mut fds: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    fds.sort_unstable();
    // The last one is that of the directory.
    fds.pop();
    let second = given.descriptor().map(|fd| fd.as_raw_fd());
    let text = format!("{args:?} {} {fds:?} {second:?}", std::env::vars_os().count());
    rustix::io::write(&to, text.as_bytes()).unwrap();
    drop(to);
    ExitCode::from(if born.confine().is_ok() { 7 } else { 8 })
}

/// Confines itself and waits for its parent.
fn wait(born: Born, given: &mut Given) -> ExitCode {
    let on = given.descriptor().unwrap();
    let _setup = born.confine().unwrap();
    let _ = rustix::io::read(&on, &mut [0_u8]);
    ExitCode::SUCCESS
}

/// Locks itself, then does what its filter forbids.
fn lock(born: Born) -> ExitCode {
    let setup = born.confine().unwrap();
    let _locked = setup.lock(&MINIMAL, &FdTable::new(), Action::Kill).unwrap();
    let _ = rustix::process::getppid();
    ExitCode::SUCCESS
}

fn program() -> Image {
    Image::new(NAME, &std::fs::read("/proc/self/exe").unwrap()).unwrap()
}

fn start(layers: Layers, what: &[u8]) -> Child {
    spawn_image(layers, &program(), what).unwrap()
}

fn image_has_its_name_no_environment_and_the_descriptors_it_was_given() {
    let (_between, _behind) = pipe();
    let ((told, tell), (_other, second)) = (pipe(), pipe());
    let mut child = start(Layers::new("test").keep(&tell).keep(&second), b"tell");
    drop(tell);
    // 0 to 2 are /dev/null, 3 is the channel.
    assert_eq!(drain(told), format!("[{NAME:?}] 0 [0, 1, 2, 3, 4, 5] Some(5)"));
    let report = child.confined().unwrap().clone();
    for layer in Layer::ALL {
        assert_eq!(report.is_applied(layer), !layer.only_where_asked(), "{layer}\n{report}");
    }
    assert_eq!(child.wait().unwrap(), Exit::Code(7));
}

/// Protects what a parent has in memory: a secret of its heap, its stack or its environment is
/// nowhere in the image's memory, which begins at other addresses. Cannot tell of what the kernel
/// keeps.
fn image_has_no_byte_of_its_parents_memory() {
    // Made here, so that it is not in the program, which is the image.
    let secret: Vec<u8> = (0..40_u8).map(|i| i.wrapping_mul(37) ^ 0x5a).collect();
    let freed = secret.repeat(3);
    drop(freed);
    let found = |child: &Child| {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.pid())).unwrap();
        let memory = std::fs::File::open(format!("/proc/{}/mem", child.pid())).unwrap();
        let mut seen = 0;
        let mut has = false;
        for line in maps.lines().filter(|line| line.contains(" r") && !line.contains("[v")) {
            let (from, rest) = line.split_once('-').unwrap();
            let address = |text: &str| u64::from_str_radix(text, 16).unwrap();
            let (from, to) = (address(from), address(rest.split(' ').next().unwrap()));
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            if memory.read_exact_at(&mut bytes, from).is_ok() {
                seen += bytes.len();
                has |= bytes.windows(secret.len()).any(|window| window == secret);
            }
        }
        assert!(seen > 100_000, "only {seen} bytes were looked at");
        (has, maps.split('-').next().unwrap().to_owned())
    };
    let (wait, _go) = pipe();
    let mut image = start(Layers::new("test").keep(&wait), b"wait");
    image.confined().unwrap();
    let mut copy =
        casemate_test_support::sandbox::confined(Layers::new("test").keep(&wait), |_| {
            let _ = rustix::io::read(&wait, &mut [0_u8]);
            0
        });
    copy.confined().unwrap();
    let own = std::fs::read_to_string("/proc/self/maps").unwrap();
    let own = own.split('-').next().unwrap();
    let (in_copy, address) = found(&copy);
    assert!(in_copy && address == own, "a copy has it: else this test could not tell");
    let (in_image, address) = found(&image);
    assert!(!in_image && address != own, "{in_image} {address}");
    let environment = std::fs::read(format!("/proc/{}/environ", image.pid())).unwrap();
    assert_eq!(environment, b"");
}

fn image_of_an_ordinary_user_gets_every_layer_too() {
    let exit = as_ordinary_user(|| {
        let (wait, go) = pipe();
        let mut child = start(Layers::new("test").keep(&wait), b"wait");
        let report = child.confined().unwrap().clone();
        let missing = Layer::ALL.into_iter().filter(|layer| !report.is_applied(*layer));
        assert!(missing.into_iter().all(Layer::only_where_asked), "{report}");
        drop(go);
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
        0
    });
    assert_eq!(exit, Exit::Code(0));
}

fn image_is_confined_as_the_kernel_tells() {
    let (wait, go): (OwnedFd, OwnedFd) = pipe();
    let mut child = start(Layers::new("test").keep(&wait), b"wait");
    child.confined().unwrap();
    let told = inspect(child.pid()).unwrap();
    assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
    assert!(told.no_new_privs && told.uid == 65534, "{told}");
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    let namespaces = told.namespaces.unwrap();
    assert!(namespaces.iter().all(|(name, own)| *own == (*name != "net")), "{namespaces:?}");
    drop(go);
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
}

fn image_that_breaks_its_filter_dies() {
    let mut child = start(Layers::new("test"), b"lock");
    child.confined().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Filter);
}

/// Protects the caller's root, as for a process that is a copy.
fn image_leaves_the_root_alone_where_the_mounts_are_its_callers() {
    let (wait, _go) = pipe();
    let layers = Layers::new("test").without(Layer::MountNamespace).keep(&wait);
    let none = Layer::ALL.into_iter().fold(Layers::new("host"), Layers::without);
    let mut host = casemate_sandbox::spawn(none.with(Layer::MountNamespace), |_born| {
        let mut child = start(layers, b"wait");
        let error = child.confined().unwrap_err();
        assert!(matches!(error, SandboxError::Layer { layer: Layer::EmptyRoot, .. }), "{error}");
        i32::from(std::fs::metadata("/proc/self").is_err())
    })
    .unwrap();
    assert_eq!(host.wait().unwrap(), Exit::Code(0));
}

fn image_that_is_no_program_is_told_to_the_parent() {
    let image = Image::new("nothing", b"no program").unwrap();
    let mut child = spawn_image(Layers::new("test"), &image, b"").unwrap();
    let error = child.confined().unwrap_err().to_string();
    assert!(error.contains("execveat"), "{error}");
    assert_eq!(child.wait().unwrap(), Exit::Code(1));
}

/// Protects what runs in a process whose program was written while its parent did something else:
/// it is all there when it is used, whoever wrote it, and the writer is gone. Cannot tell of a
/// writer that the kernel kills.
fn program_that_was_begun_is_whole_when_it_is_used() {
    let bytes = std::fs::read("/proc/self/exe").unwrap();
    let program = Program::new(NAME, Vec::leak(bytes));
    let children = || std::fs::read_to_string("/proc/thread-self/children").unwrap();
    let before = children();
    for begins in [true, true, false] {
        let begun = begins.then(|| program.begin());
        assert_eq!(children() != before, begins, "who writes it");
        let image = program.image().unwrap();
        assert_eq!(children(), before, "the writer is there yet");
        drop(begun);
        let (wait, go) = pipe();
        let mut child = spawn_image(Layers::new("test").keep(&wait), &image, b"wait").unwrap();
        child.confined().unwrap();
        let runs = std::fs::read(format!("/proc/{}/exe", child.pid())).unwrap();
        assert!(runs == std::fs::read("/proc/self/exe").unwrap());
        drop(go);
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
    }
    // One that is begun and never used leaves nobody, either.
    drop(program.begin());
    assert_eq!(children(), before);
}

fn process_that_no_parent_started_cannot_begin() {
    assert!(matches!(Born::of_image(), Err(SandboxError::Start(_))));
}

fn nothing_is_left_of_an_image_whose_parent_drops_it() {
    let (read, write) = pipe();
    let child = start(Layers::new("test").keep(&write), b"wait");
    drop(write);
    drop(child);
    assert_eq!(drain(read), "");
}

fn main() -> ExitCode {
    if std::env::args().next().as_deref() == Some(NAME) {
        return image();
    }
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        image_has_its_name_no_environment_and_the_descriptors_it_was_given,
        image_has_no_byte_of_its_parents_memory,
        image_of_an_ordinary_user_gets_every_layer_too,
        image_is_confined_as_the_kernel_tells,
        image_that_breaks_its_filter_dies,
        image_leaves_the_root_alone_where_the_mounts_are_its_callers,
        image_that_is_no_program_is_told_to_the_parent,
        program_that_was_begun_is_whole_when_it_is_used,
        process_that_no_parent_started_cannot_begin,
        nothing_is_left_of_an_image_whose_parent_drops_it,
    ])
}
