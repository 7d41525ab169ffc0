//! Page states on a KVM with private memory: a guest of a few instructions converts its pages,
//! reads and writes them, and everything it sees, everything the host sees, and every page that the
//! kernel holds, is compared with a model.
//!
//! Needs a KVM with software-protected VMs, or with SEV-SNP for the last test: the virtual hosts
//! (`tests/e2e` runs this program there). Skipped, and said so, elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use casemate_hypervisor::bus::{Bus, BusDevice, Effect};
use casemate_hypervisor::exits::{Events, Guard, Machine, Note, Outcome, PageRule, Stop};
use casemate_hypervisor::kvm::{KernelSides, PrivateMemory, Vm, VmKind};
use casemate_hypervisor::launch::BootState;
use casemate_hypervisor::launch::{LaunchPlan, PageKind};
use casemate_hypervisor::memory::{
    GpaRange, GuestRam, PAGE_SIZE, PageMap, PageStates, PrivateRam, RamMap, Refusal, Visibility,
};
use casemate_hypervisor::vm::engine::{Engine, HostFds};
use casemate_policy::Policy;
use casemate_test_support::guests::{CODE, kvm, page_tables};
use casemate_test_support::kernel_calls::pages_held;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

const PORT: u16 = 0x100;
const RAM: u64 = 32 << 20;
/// The pages that are converted.
const FIRST: u64 = 16 << 20;
const PAGES: u64 = 256;
const CONVERSIONS: u32 = 10_000;

/// Takes operation, address and argument from the port, over and over: 0 reads four bytes and tells
/// them, 1 writes the argument, 2 asks for `argument & 0xffff` pages with the attributes `argument
/// >> 16` and tells the result.
fn guest() -> Vec<u8> {
    let [low, high] = PORT.to_le_bytes();
    vec![
        0x66, 0xba, low, high, // mov dx, PORT
        0xed, 0x89, 0xc1, // next: in eax, dx; mov ecx, eax
        0xed, 0x89, 0xc3, // in eax, dx; mov ebx, eax
        0xed, // in eax, dx
        0x83, 0xf9, 0x01, 0x74, 0x0a, // cmp ecx, 1; je write
        0x83, 0xf9, 0x02, 0x74, 0x09, // cmp ecx, 2; je convert
        0x8b, 0x03, 0xef, 0xeb, 0xea, // mov eax, [rbx]; out dx, eax; jmp next
        0x89, 0x03, 0xeb, 0xe6, // write: mov [rbx], eax; jmp next
        0x89, 0xc1, // convert: mov ecx, eax
        0x81, 0xe1, 0xff, 0xff, 0x00, 0x00, // and ecx, 0xffff
        0xc1, 0xe8, 0x10, 0x89, 0xc2, // shr eax, 16; mov edx, eax
        0xb8, 0x0c, 0x00, 0x00, 0x00, // mov eax, KVM_HC_MAP_GPA_RANGE
        0x0f, 0x01, 0xd9, // vmmcall
        0x66, 0xba, low, high, 0xef, // mov dx, PORT; out dx, eax
        0xeb, 0xca, // jmp next
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Read { page: u64 },
    Write { page: u64, value: u32 },
    Convert { page: u64, pages: u64, attributes: u32 },
}

impl Step {
    fn words(self) -> [u32; 3] {
        let address = |page: u64| (FIRST + page * PAGE_SIZE) as u32;
        match self {
            Self::Read { page } => [0, address(page), 0],
            Self::Write { page, value } => [1, address(page), value],
            Self::Convert { page, pages, attributes } => {
                [2, address(page), attributes << 16 | pages as u32]
            }
        }
    }
}

/// A page as the model has it: contents of its first four bytes, whether the kernel holds memory
/// for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    shared: bool,
    value: u32,
    held: bool,
}

/// The model of all pages, what the guest is to do next, and what differed.
struct Driver {
    pages: Vec<Page>,
    random: u64,
    steps: u32,
    step: Step,
    given: usize,
    conversions: u32,
    refused: u32,
    wrong: Vec<String>,
    done: bool,
    ram: GuestRam,
}

impl Driver {
    fn new(ram: GuestRam) -> Self {
        let page = Page { shared: false, value: 0, held: false };
        Self {
            pages: vec![page; PAGES as usize],
            random: 0x9e37_79b9_7f4a_7c15,
            steps: 0,
            step: Step::Read { page: 0 },
            given: 0,
            conversions: 0,
            refused: 0,
            wrong: Vec::new(),
            done: false,
            ram,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn choose(&mut self) {
        let page = self.below(PAGES);
        self.step = match self.below(4) {
            0 => Step::Read { page },
            1 => Step::Write { page, value: self.below(u64::from(u32::MAX)) as u32 | 1 },
            _ => {
                let attributes = match self.below(12) {
                    0 => 0x20, // no such attribute
                    n if n % 2 == 0 => 0x10,
                    n => (n % 4) as u32 & 1, // shared, with and without the hint of large pages
                };
                // Now and then beyond RAM.
                let far = self.below(50) == 0;
                let pages = if far { 0xffff } else { 1 + self.below(16.min(PAGES - page)) };
                Step::Convert { page, pages, attributes }
            }
        };
        self.given = 0;
    }

    /// What the host sees of a page, without making the kernel hold memory for it.
    fn host_sees(&self, page: u64) -> u32 {
        let mut bytes = [0; 4];
        self.ram.file().read_exact_at(&mut bytes, FIRST + page * PAGE_SIZE).unwrap();
        u32::from_le_bytes(bytes)
    }

    fn finished(&mut self, told: u32) {
        match self.step {
            Step::Read { page } => {
                let known = &mut self.pages[page as usize];
                known.held = true;
                if told != known.value {
                    self.wrong.push(format!("page {page} reads {told:#x}, not {:#x}", known.value));
                }
            }
            Step::Write { page, value } => {
                let known = &mut self.pages[page as usize];
                (known.value, known.held) = (value, true);
            }
            Step::Convert { page, pages, attributes } => {
                self.converted(page, pages, attributes, told);
            }
        }
        // The host never sees what is private, and sees what is shared.
        let page = self.below(PAGES);
        let known = self.pages[page as usize];
        let visible = if known.shared { known.value } else { 0 };
        let seen = self.host_sees(page);
        if seen != visible {
            self.wrong.push(format!("the host sees {seen:#x} of page {page}: {known:?}"));
        }
        self.steps += 1;
        self.done = self.conversions == CONVERSIONS || !self.wrong.is_empty();
    }

    fn converted(&mut self, page: u64, pages: u64, attributes: u32, told: u32) {
        let good = pages <= 16 && attributes != 0x20;
        self.conversions += 1;
        if (told == 0) != good {
            self.wrong.push(format!("conversion {:?} gave {told:#x}", self.step));
        }
        if !good {
            self.refused += 1;
            return;
        }
        let shared = attributes & 0x10 == 0;
        for known in &mut self.pages[page as usize..(page + pages) as usize] {
            // A page that is of this kind already keeps what it has; another one loses it on both
            // sides.
            if known.shared != shared {
                *known = Page { shared, value: 0, held: false };
            }
        }
    }
}

impl BusDevice for Driver {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        // A write tells nothing: it is over when the guest asks for the next step.
        if self.given == 3 {
            self.finished(0);
        }
        if self.given == 0 || self.given == 3 {
            self.choose();
        }
        data.copy_from_slice(&self.step.words()[self.given].to_le_bytes());
        self.given += 1;
    }
    fn write(&mut self, _: u64, data: &[u8]) -> Effect {
        self.finished(u32::from_le_bytes(data.try_into().unwrap()));
        self.given = 0;
        Effect::None
    }
}

#[derive(Clone)]
struct States(Arc<PrivateRam<KernelSides>>);
impl PageStates for States {
    fn convert(&self, range: GpaRange, to: Visibility) -> Result<u64, Refusal> {
        self.0.convert(range, to)
    }
    fn write_shared(&self, gpa: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.0.write_shared(gpa, bytes)
    }
}

struct Quiet;
impl Events for Quiet {
    fn mark(&self, _: u8) {}
    fn note(&self, _: Note) {}
    fn denied(&self, _: PageRule, _: u64) {}
}

#[test]
fn ten_thousand_random_conversions_leave_every_page_as_the_model_has_it() {
    let Some(dev_kvm) = kvm() else { return };
    let vm = match Vm::create(dev_kvm.into(), VmKind::SoftwareProtected) {
        Ok(vm) => Arc::new(vm),
        Err(e) => {
            println!("SKIPPED: no software-protected VMs here: {e}");
            return;
        }
    };
    vm.exit_on_page_state_changes().unwrap();
    vm.create_irqchip().unwrap();
    let map = RamMap::new(RAM).unwrap();
    let ram = GuestRam::new(map.clone()).unwrap();
    let low = [GpaRange::new(0, 2 << 20).unwrap()];
    let private = PrivateMemory::add(&vm, &ram).unwrap();
    private.share(&low).unwrap();
    let gmem = private.files()[0];
    ram.write(0x1000, &page_tables()).unwrap();
    ram.write(CODE, &guest()).unwrap();
    let limits = Policy::builtin_permissive().page_state_limits();
    let pages = PageMap::new(map.clone(), &low);
    let states =
        States(Arc::new(PrivateRam::new(KernelSides::new(ram.clone(), private), pages, limits)));
    let driver = Arc::new(Mutex::new(Driver::new(ram.clone())));
    let mut pio = Bus::default();
    pio.add(PORT.into(), 4, driver.clone()).unwrap();
    let machine = Machine {
        pio,
        mmio: Bus::default(),
        ram: map,
        pages: Box::new(states.clone()),
        certs: None,
        guard: Guard::default(),
        events: Box::new(Quiet),
    };
    let mut vcpu = vm.create_vcpu(0).unwrap();
    vcpu.set_cpuid(0, &vm.cpuid(0, 1).unwrap()).unwrap();
    vcpu.set_boot_state(&BootState { rip: CODE, rsp: 0x8_0000, rsi: 0, cr3: 0x1000 }).unwrap();
    let before = pages_held(ram.file().as_raw_fd(), 0, RAM).unwrap();
    while !driver.lock().unwrap().done {
        assert_eq!(vcpu.run().handle(&machine), Outcome::Resume);
    }
    let driver = driver.lock().unwrap();
    assert!(driver.wrong.is_empty(), "{:#?}", driver.wrong);
    // Every page is held once, on the side where it belongs, and given-up sides hold nothing.
    let of = |shared: bool| {
        driver.pages.iter().filter(|page| page.held && page.shared == shared).count() as u64
    };
    let region = PAGES * PAGE_SIZE;
    assert_eq!(
        pages_held(gmem, FIRST, region).unwrap(),
        of(false),
        "private pages that the kernel holds"
    );
    let shared = pages_held(ram.file().as_raw_fd(), FIRST, region).unwrap();
    assert_eq!(shared, of(true), "shared pages that the kernel holds");
    // The guest's own memory: tables, whose accessed bits the processor sets, and code.
    let after = pages_held(ram.file().as_raw_fd(), 0, RAM).unwrap();
    assert!(after - shared <= before + 8, "the memory file grew from {before} to {after} pages");
    assert_eq!(pages_held(gmem, 0, RAM).unwrap(), of(false), "nothing else is held privately");
    let model = driver.pages.iter().filter(|page| page.shared).count() as u64;
    assert_eq!(states.0.with_map(PageMap::shared), model + low[0].pages());
    println!(
        "{} steps, {} conversions, {} of them refused; {} private and {} shared pages held at the end",
        driver.steps,
        driver.conversions,
        driver.refused,
        of(false),
        of(true)
    );
    assert!(driver.steps > CONVERSIONS && driver.refused > 100);
}

/// Tables of an SEV-SNP guest: the first 2 MiB private, but one page of it shared.
fn snp_tables(c_bit: u8, shared: u64) -> Vec<u8> {
    let mask = 1_u64 << c_bit;
    let mut tables = vec![0_u64; 512 * 4];
    for level in 0..3_u64 {
        tables[level as usize * 512] = (0x1000 + (level + 1) * 0x1000) | 3 | mask;
    }
    for page in 0..512_u64 {
        let gpa = page * PAGE_SIZE;
        tables[1536 + page as usize] = gpa | 3 | if gpa == shared { 0 } else { mask };
    }
    tables.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[test]
fn an_access_of_the_other_kind_converts_the_page_and_reaches_the_host() {
    const SHARED: u64 = 0x18_0000;
    let Some(dev_kvm) = kvm() else { return };
    let Ok(dev_sev) = std::fs::File::open("/dev/sev") else {
        println!("SKIPPED: no /dev/sev here");
        return;
    };
    let probe = Vm::create(dev_kvm.into(), VmKind::Snp).unwrap();
    let c_bit = probe.c_bit().unwrap().unwrap();
    drop(probe);
    // mov dword [SHARED], 0x12345678; then the GHCB protocol's termination with set 2, code 0x2a,
    // by MSR.
    let code = [
        &[0xc7, 0x04, 0x25][..],
        &(SHARED as u32).to_le_bytes(),
        &0x1234_5678_u32.to_le_bytes(),
        &[0xb9, 0x30, 0x01, 0x01, 0xc0, 0xb8, 0x00, 0x21, 0x2a, 0x00, 0x31, 0xd2, 0x0f, 0x30],
        &[0xf3, 0x0f, 0x01, 0xd9, 0xf4],
    ]
    .concat();
    let boot = BootState { rip: 0x10_0000, rsp: 0x10_1000, rsi: 0, cr3: 0x1000 };
    let mut plan = LaunchPlan::new(RamMap::new(4 << 20).unwrap(), 1, boot);
    let text = format!("kernel = \"k\"\nprotection = \"sev-snp\"\n[snp]\nc_bit = {c_bit}\n");
    let config = casemate_hypervisor::config::RawConfig::from_toml(&text, "test")
        .unwrap()
        .validate()
        .unwrap();
    plan.snp = config.snp;
    plan.add_pages("tables", PageKind::Normal, 0x1000, snp_tables(c_bit, SHARED)).unwrap();
    plan.add_pages("CPUID", PageKind::Cpuid, 0x6000, vec![]).unwrap();
    plan.add_pages("code", PageKind::Normal, 0x10_0000, code).unwrap();
    let host = HostFds { dev_kvm: kvm().unwrap().into(), dev_sev: Some(dev_sev.into()) };
    let engine = Engine::new(host, &plan, Box::new(Quiet)).unwrap();
    engine.launch(&plan).unwrap();
    let (_, memory) = engine.page_state_fds();
    let ready = engine.start_threads().unwrap();
    ready.go();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while ready.stop_reason().is_none() {
        assert!(std::time::Instant::now() < deadline, "the guest did not stop");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(ready.stop_reason(), Some(Stop::Terminated { set: 2, code: 0x2a }));
    // The page had been private: the write left as a memory fault, and then went to shared memory.
    let ram = std::fs::File::open(format!("/proc/self/fd/{}", memory.last().unwrap())).unwrap();
    let mut bytes = [0; 4];
    ram.read_exact_at(&mut bytes, SHARED).unwrap();
    assert_eq!(u32::from_le_bytes(bytes), 0x1234_5678);
    println!("a memory fault converted one page");
}
