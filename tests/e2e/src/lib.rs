//! End-to-end tests of `casemate run` in the virtual host, with a stock Debian kernel as the guest.
//!
//! A host takes seconds to start, so a [`Boot`] runs several scenarios in one host, from a script
//! in `l1/`; tests then look at what each scenario left. A boot happens once per test program, when
//! the first test asks for it.

use casemate_test_host::{Error, Host, Kind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The input of every workload.
pub const INPUT: &str = "four words of input";

/// A boot of the virtual host that runs the scenarios of one script.
#[derive(Debug)]
pub struct Boot {
    script: &'static str,
    adapt: fn(Host) -> Host,
    limit: Duration,
    results: OnceLock<Result<PathBuf, String>>,
}

/// What a scenario left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Exit status of `casemate run`.
    pub status: i32,
    /// Its standard output: the guest's console.
    pub out: String,
    /// Its error output.
    pub err: String,
    /// Processes, names and files that were there after its end and not before.
    pub remains: String,
    directory: PathBuf,
    name: String,
}

impl Left {
    /// Another file that the scenario wrote: `NAME.KIND`.
    #[must_use]
    pub fn file(&self, kind: &str) -> String {
        read(&self.directory.join(format!("{}.{kind}", self.name)))
    }

    /// The path of such a file.
    #[must_use]
    pub fn path(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{}.{kind}", self.name))
    }

    /// What the guest wrote to its disk, which the scenario left as `NAME.results`.
    ///
    /// # Errors
    /// As [`results`].
    pub fn results(&self) -> Result<String, String> {
        results(&self.directory.join(format!("{}.results", self.name)))
    }
}

impl Boot {
    /// A boot for the scenarios of `l1/SCRIPT.sh`, in a host changed by `adapt`.
    #[must_use]
    pub const fn new(script: &'static str, adapt: fn(Host) -> Host) -> Self {
        let limit = Duration::from_secs(420);
        Self { script, adapt, limit, results: OnceLock::new() }
    }

    /// What the scenario `name` left behind; boots the host first when nobody has done that.
    ///
    /// # Panics
    /// When the host cannot be booted, or the scenario left nothing: a test then fails with the
    /// reason.
    #[allow(clippy::panic, reason = "tests fail by panics")]
    pub fn scenario(&self, name: &str) -> Left {
        let directory = match self.results.get_or_init(|| self.run()) {
            Ok(directory) => directory.clone(),
            Err(e) => panic!("{}: {e}", self.script),
        };
        let file = |kind: &str| read(&directory.join(format!("{name}.{kind}")));
        let status = file("status");
        let Ok(status) = status.trim().parse() else {
            panic!("scenario {name} gave no status:\n{}", file("err"));
        };
        Left {
            status,
            out: file("out"),
            err: file("err"),
            remains: file("left"),
            name: name.into(),
            directory,
        }
    }

    fn run(&self) -> Result<PathBuf, String> {
        let initrd = built()?.as_path();
        let binaries = binaries();
        let directory = scratch(self.script)?;
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("l1");
        let script = format!("{}.sh", self.script);
        let host = Host::new(Kind::Plain)
            .map_err(|e| e.to_string())?
            .file(binaries.join("casemate"), "/bin/casemate")
            .file(initrd, "/e2e/initrd")
            .file(here.join("scenarios.sh"), "/e2e/scenarios.sh")
            .file(here.join(&script), "/e2e/run.sh")
            .get("/out", directory.join("out"))
            .timeout(self.limit);
        let host = (self.adapt)(host);
        let run = || host.run(". /e2e/scenarios.sh; . /e2e/run.sh");
        let output = match run() {
            // QEMU 7.2 can run code that another processor has just patched (tests/host/README.md).
            Err(Error::NoStatus { log, .. }) if log.contains("Oops: int3") => {
                println!("{}: the emulator broke the host's kernel; once more\n{log}", self.script);
                run()
            }
            other => other,
        };
        print!("{}", output.map_err(|e| e.to_string())?.stderr);
        Ok(directory.join("out"))
    }
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| lossy(&bytes)).unwrap_or_default()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "")
}

/// The repository's root.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Where `make static` puts the programs.
#[must_use]
pub fn binaries() -> PathBuf {
    root().join("target/static")
}

/// The programs without shared libraries, built; their directory.
///
/// # Errors
/// What the build said.
pub fn static_programs() -> Result<PathBuf, String> {
    command(Command::new("make").args(["-s", "static"]).current_dir(root()))?;
    Ok(binaries())
}

/// The program `package` of this workspace without shared libraries, built, and the programs of
/// [`static_programs`] with it: its path.
///
/// # Errors
/// What the build said.
pub fn static_program(package: &str) -> Result<PathBuf, String> {
    let more = format!("MORE={package}");
    command(Command::new("make").args(["-s", "static", &more]).current_dir(root()))?;
    Ok(binaries().join(package))
}

/// Modules of the virtual host's kernel, `drivers/block/loop` for one, unpacked into `place` so
/// that the host's `insmod` can load them: each with its path in the virtual host.
///
/// # Errors
/// The kernel has no such module, or it cannot be unpacked.
pub fn host_modules(names: &[&str], place: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    Host::new(Kind::Plain).map_err(|e| e.to_string())?;
    let modules = kernel_modules()?;
    let unpacked = |name: &&str| {
        let packed = modules.join("kernel").join(name).with_added_extension("ko.xz");
        let output = Command::new("xz").arg("-dc").arg(&packed).output();
        let output = output.map_err(|e| format!("xz: {e}"))?;
        if !output.status.success() {
            return Err(format!("{}: {}", packed.display(), lossy(&output.stderr)));
        }
        let file = format!("{}.ko", name.rsplit('/').next().unwrap_or(name));
        let module = place.join(&file);
        std::fs::write(&module, output.stdout).map_err(|e| e.to_string())?;
        Ok((module, format!("/m/{file}")))
    };
    names.iter().map(unpacked).collect()
}

/// An ext4 image at `out` of so many MiB, with what is in `tree`.
///
/// # Errors
/// What mkfs.ext4 said; it belongs to e2fsprogs, which every Debian has.
pub fn ext4_image(out: &Path, mib: u64, tree: Option<&Path>) -> Result<(), String> {
    let file = std::fs::File::create(out).and_then(|file| file.set_len(mib << 20));
    file.map_err(|e| format!("{}: {e}", out.display()))?;
    let mut make = Command::new("/sbin/mkfs.ext4");
    make.args(["-q", "-F"]);
    if let Some(tree) = tree {
        make.arg("-d").arg(tree);
    }
    command(make.arg(out))
}

/// The modules of the virtual host's kernel.
fn kernel_modules() -> Result<PathBuf, String> {
    let directory = host_built().join("kernel/lib/modules");
    std::fs::read_dir(&directory)
        .ok()
        .and_then(|mut entries| Some(entries.next()?.ok()?.path()))
        .ok_or_else(|| format!("no kernel modules in {}", directory.display()))
}

/// A test program of the hypervisor, built, with the libraries it needs: each with its path in the
/// virtual host.
///
/// # Errors
/// What the build said.
pub fn test_program(name: &str) -> Result<Vec<(PathBuf, String)>, String> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["test", "--locked", "--quiet", "-p", "casemate-hypervisor", "--test", name]);
    build.args(["--no-run", "--message-format", "json"]).current_dir(root());
    let output = build.output().map_err(|e| format!("{build:?}: {e}"))?;
    let text = lossy(&output.stdout);
    let program = text
        .split("\"executable\":\"")
        .filter_map(|part| part.split('"').next())
        .find(|path| path.contains(&format!("/{name}-")))
        .ok_or_else(|| format!("{build:?}: {}", lossy(&output.stderr)))?;
    let mut files = libraries(Path::new(program))?;
    files.push((PathBuf::from(program), format!("/e2e/{name}")));
    Ok(files)
}

/// The libraries that a program needs: each with its path in the virtual host, which is its own.
///
/// # Errors
/// What `ldd` said.
pub fn libraries(program: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let ldd = Command::new("ldd").arg(program).output().map_err(|e| format!("ldd: {e}"))?;
    let text = lossy(&ldd.stdout);
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(|path| (PathBuf::from(path), path.to_owned())).collect())
}

/// Runs a test program of the hypervisor in a virtual host, one test at a time; its output.
///
/// # Panics
/// When it cannot be built or run, or a test in it fails.
#[must_use]
pub fn run_test_program(kind: Kind, name: &str, environment: &str) -> String {
    run_test_program_with(kind, name, environment, &[])
}

/// The same with more files, each with its path in the host.
///
/// # Panics
/// As [`run_test_program`].
#[allow(clippy::panic, clippy::expect_used, reason = "tests fail by panics")]
#[must_use]
pub fn run_test_program_with(
    kind: Kind,
    name: &str,
    environment: &str,
    more: &[(&Path, &str)],
) -> String {
    let mut host = Host::new(kind).expect("the virtual host can be built");
    for (from, to) in more {
        host = host.file(from, to);
    }
    for (from, to) in test_program(name).expect("the test program is built") {
        host = host.file(from, &to);
    }
    let command =
        format!("RUST_BACKTRACE=0 {environment} /e2e/{name} --nocapture --test-threads 1");
    let output = host
        .memory_mib(3072)
        .timeout(Duration::from_secs(400))
        .run(&command)
        .expect("the host runs");
    if output.status != 0 {
        panic!("{name}: {}\n{}\n{}", output.stdout, output.stderr, output.log);
    }
    println!("{}", output.stdout);
    output.stdout
}

/// Compiles `l1/NAME.c` as a static program; its path.
///
/// # Errors
/// What the compiler said.
pub fn c_program(name: &str) -> Result<PathBuf, String> {
    let program = scratch(name)?.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("l1").join(format!("{name}.c"));
    command(Command::new("gcc").args(["-O1", "-Wall", "-static", "-o"]).arg(&program).arg(source))?;
    Ok(program)
}

/// The kernel that the virtual host has as `/k/vmlinuz`.
#[must_use]
pub fn kernel() -> PathBuf {
    host_built().join("vmlinuz")
}

/// Whether the virtual host runs the 7.x kernel (`CASEMATE_HOST_KERNEL=7`) instead of the usual
/// 6.12.
#[must_use]
pub fn on_kernel_7() -> bool {
    std::env::var_os("CASEMATE_HOST_KERNEL").is_some_and(|kernel| kernel == "7")
}

/// Where what belongs to the virtual host's kernel was built.
fn host_built() -> PathBuf {
    let host = root().join("target/host");
    if on_kernel_7() { host.join("kernel-7") } else { host }
}

/// A directory of this test program, empty.
fn scratch(name: &str) -> Result<PathBuf, String> {
    let directory = root().join("target/e2e").join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    Ok(directory)
}

/// Builds the programs without shared libraries, and the guests' initrd; its path.
fn built() -> Result<&'static PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref().map_err(Clone::clone)
}

fn build() -> Result<PathBuf, String> {
    command(Command::new("make").args(["-s", "static"]).current_dir(root()))?;
    Host::new(Kind::Plain).map_err(|e| e.to_string())?;
    let initrd_file = scratch(&format!("initrd-{}", std::process::id()))?.join("initrd");
    initrd(&initrd_file, "guest-workload.sh", &["drivers/block/virtio_blk"])?;
    Ok(initrd_file)
}

/// Builds an initrd at `out` that runs `workload`, a file in `l1/`, with more kernel modules, in
/// their order.
///
/// # Errors
/// What the build said.
pub fn initrd(out: &Path, workload: &str, modules: &[&str]) -> Result<(), String> {
    initrd_of(out, &static_programs()?.join("casemate-init"), workload, modules, &[])
}

/// The same with more programs, in the guest's `/bin`.
///
/// # Errors
/// What the build said.
pub fn initrd_with(
    out: &Path,
    workload: &str,
    modules: &[&str],
    more: &[&Path],
) -> Result<(), String> {
    initrd_of(out, &static_programs()?.join("casemate-init"), workload, modules, more)
}

/// The same with any program as PID 1.
///
/// # Errors
/// What the build said.
pub fn initrd_of(
    out: &Path,
    init: &Path,
    workload: &str,
    modules: &[&str],
    more: &[&Path],
) -> Result<(), String> {
    let input = out.with_extension("input");
    std::fs::write(&input, format!("{INPUT}\n")).map_err(|e| e.to_string())?;
    command(
        Command::new(root().join("demo/mkinitrd"))
            .arg(out)
            .arg(init)
            .arg(kernel_modules()?)
            .arg(&input)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("l1").join(workload))
            .env("MODULES", modules.join(" "))
            .env(
                "PROGRAMS",
                more.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "),
            ),
    )
}

/// The demo's guest in `place`, with `input`: `root.img`, `input.img` and `initrd`.
///
/// # Errors
/// What the build said.
pub fn demo_guest(place: &Path, input: &Path) -> Result<(), String> {
    let programs = static_programs()?;
    Host::new(Kind::Plain).map_err(|e| e.to_string())?;
    command(
        Command::new(root().join("demo/mkguest"))
            .arg(place)
            .arg(programs.join("casemate"))
            .arg(programs.join("casemate-init"))
            .arg(kernel_modules()?)
            .arg(input),
    )
}

/// A disk of zeros at `path`, for a guest's results.
///
/// A guest's console is its kernel's, too, so what a test reads as numbers or bytes comes by a
/// disk: text that the guest's workload writes to the device from its first byte on, whose last
/// line is `end`.
///
/// # Errors
/// The operating system's.
pub fn results_disk(path: &Path) -> Result<(), String> {
    let made = std::fs::File::create(path).and_then(|file| file.set_len(1 << 20));
    made.map_err(|e| format!("{}: {e}", path.display()))
}

/// What a guest wrote to such a disk: the lines before `end`.
///
/// # Errors
/// The operating system's, or that the guest did not get to the end.
pub fn results(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let written = lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
    let whole =
        written.strip_suffix("end\n").filter(|rest| rest.is_empty() || rest.ends_with('\n'));
    whole.map(str::to_owned).ok_or_else(|| format!("no end of the results: {written}"))
}

/// An empty directory of this test program, under `target/e2e`.
///
/// # Errors
/// The operating system's.
pub fn place(name: &str) -> Result<PathBuf, String> {
    scratch(&format!("{name}-{}", std::process::id()))
}

fn command(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", lossy(&output.stderr)))
}

/// Builds the image `name` in `folder` from the folder `source` there, with the virtual host's
/// kernel and modules; `command` is what it runs.
///
/// # Errors
/// What the build said.
pub fn build_image(
    folder: &Path,
    name: &str,
    options: &[&str],
    command: &[&str],
) -> Result<PathBuf, String> {
    let failed = |e: std::io::Error| e.to_string();
    let kernel = kernel().canonicalize().map_err(failed)?;
    let modules = kernel_modules()?;
    let image = folder.join(name);
    let mut build = Command::new(static_programs()?.join("casemate"));
    build.args(["image", "build"]).arg(folder.join("source")).arg("-o").arg(&image);
    build.arg("--kernel").arg(kernel).arg("--modules").arg(modules);
    let output = build.args(options).arg("--").args(command).output().map_err(failed)?;
    if output.status.success() { Ok(image) } else { Err(format!("{output:?}")) }
}
