//! MODEL of an SNP processor and of its host, for the boot code's steps: reverse map, nested page
//! table, shared window.
//!
//! What is modelled: a system page belongs to one guest address (RMP); access and PVALIDATE need
//! the nested page table and the RMP to agree; a page that the host changes in the RMP loses its
//! validity. The host can change everything else at any step. An access that the processor would
//! not let pass makes the guest dead, which is a refusal.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod guest;

use casemate_boot::machine::{Machine, PageSize, Validation};
use casemate_boot::sha256::Engine;
use casemate_layout::{MAP_BYTES, Range, Termination, map, paging};
use std::cell::Cell;
use std::collections::HashMap;

pub const PAGE: u64 = 4096;
/// Where high memory starts.
const HIGH_START: u64 = 1 << 32;
const LARGE_PAGES: u64 = 512;

/// Reverse-map entry of a system page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rmp {
    pub assigned: bool,
    pub gpa: u64,
    pub valid: bool,
}

/// What a host does to its guest.
#[derive(Debug, Clone, Copy)]
pub enum Lie {
    /// PVALIDATE of this page fails.
    FailValidation(u64),
    /// Another system page appears at this address, assigned and not valid.
    Replace(u64),
    /// Two addresses lead to each other's system pages.
    Swap(u64, u64),
    /// Two addresses lead to one system page.
    Alias(u64, u64),
    /// The page is assigned anew, and not valid.
    Rescind(u64),
    /// The page is taken away.
    Unassign(u64),
    /// The page is valid before the guest makes it so.
    Prevalidate(u64),
    /// A byte of staging changes.
    FlipStaging(u64),
    /// Requests to make staging private succeed and do nothing.
    PretendPrivate,
    /// Requests to make staging private are refused.
    RefusePrivate,
    /// The CPUID page has another C-bit.
    CpuidCBit(u8),
    /// The CPUID page has this many entries.
    CpuidCount(u32),
    /// The processor does not run the guest under SNP.
    NoSnp,
    /// A byte of the host's memory map becomes another.
    ChangeMap(usize, u8),
}

#[derive(Debug)]
pub struct Model {
    pub memory: HashMap<u64, Box<[u8; 4096]>>,
    /// Identity-mapped private memory from 0, as one piece.
    pub low: Vec<u8>,
    /// Private memory from 4 GiB.
    pub high: Vec<u8>,
    /// The host's memory map, and how often it was read.
    pub host_map: [u8; MAP_BYTES],
    pub map_reads: usize,
    pub staging: Vec<u8>,
    pub staging_at: u64,
    pub rmp: Vec<Rmp>,
    pub nested: HashMap<u64, usize>,
    pub snp: bool,
    pub c_bit: u8,
    /// RAM at these addresses is backed by large pages.
    pub large: Vec<Range>,
    /// Lies still to come: after this many steps of the guest.
    pub lies: Vec<(usize, Lie)>,
    pub steps: Cell<usize>,
    pub dead: Cell<bool>,
    /// Successful validations of each page.
    pub validated: HashMap<u64, usize>,
    /// Pages looked at since.
    pub touched: HashMap<u64, usize>,
    pub marks: Vec<u8>,
    pub marks_by_page: Vec<u64>,
    fail_validation: Vec<u64>,
    pretend_private: bool,
    refuse_private: bool,
    no_snp: bool,
}

impl Model {
    pub fn new(ram: &[Range], staging: Range, snp: bool) -> Self {
        let size =
            |range: Option<&Range>| range.map_or(0, |range| usize::try_from(range.size).unwrap());
        let mut model = Self {
            memory: HashMap::new(),
            low: vec![0xaa; size(ram.first())],
            high: vec![0xaa; size(ram.get(1))],
            host_map: [0; MAP_BYTES],
            map_reads: 0,
            staging: vec![0; usize::try_from(staging.size).unwrap()],
            staging_at: staging.start,
            rmp: Vec::new(),
            nested: HashMap::new(),
            snp,
            c_bit: 51,
            large: Vec::new(),
            lies: Vec::new(),
            steps: Cell::new(0),
            dead: Cell::new(false),
            validated: HashMap::new(),
            touched: HashMap::new(),
            marks: Vec::new(),
            marks_by_page: Vec::new(),
            fail_validation: Vec::new(),
            pretend_private: false,
            refuse_private: false,
            no_snp: false,
        };
        for range in ram {
            for gpa in (range.start..range.end()).step_by(PAGE as usize) {
                model.nested.insert(gpa, model.rmp.len());
                let shared = staging.contains(one(gpa)) || map::HOST_MAP.contains(one(gpa));
                model.rmp.push(Rmp { assigned: !shared, gpa, valid: false });
            }
        }
        model
    }

    /// Puts launched contents into memory.
    pub fn launch(&mut self, at: u64, bytes: &[u8]) {
        let start = usize::try_from(at).unwrap();
        self.low[start..start + bytes.len()].copy_from_slice(bytes);
        self.make_valid(Range { start: at, size: (bytes.len() as u64).next_multiple_of(PAGE) });
    }

    /// What launch and the image's entry code do: pages become valid.
    pub fn make_valid(&mut self, range: Range) {
        for gpa in (range.start..range.end()).step_by(PAGE as usize) {
            let page = self.nested[&gpa];
            self.rmp[page].valid = true;
            *self.validated.entry(gpa).or_default() += 1;
        }
    }

    /// One step of the guest; lies that are due happen.
    fn step(&mut self) {
        let now = self.steps.get() + 1;
        self.steps.set(now);
        while let Some(at) = self.lies.iter().position(|(when, _)| *when <= now) {
            let (_, lie) = self.lies.remove(at);
            self.tell(lie);
        }
    }

    pub fn tell(&mut self, lie: Lie) {
        match lie {
            Lie::FailValidation(gpa) => self.fail_validation.push(gpa),
            Lie::Replace(gpa) => {
                self.nested.insert(gpa, self.rmp.len());
                self.rmp.push(Rmp { assigned: true, gpa, valid: false });
            }
            Lie::Swap(a, b) => {
                let (page_a, page_b) = (self.nested[&a], self.nested[&b]);
                self.nested.insert(a, page_b);
                self.nested.insert(b, page_a);
            }
            Lie::Alias(a, b) => {
                let page = self.nested[&b];
                self.nested.insert(a, page);
            }
            Lie::Rescind(gpa) => self.change(gpa, |page| page.valid = false),
            Lie::Unassign(gpa) => {
                self.change(gpa, |page| *page = Rmp { assigned: false, valid: false, ..*page });
            }
            Lie::Prevalidate(gpa) => self.change(gpa, |page| page.valid = true),
            Lie::FlipStaging(at) => {
                let at = usize::try_from(at).unwrap() % self.staging.len();
                self.staging[at] ^= 1;
            }
            Lie::PretendPrivate => self.pretend_private = true,
            Lie::RefusePrivate => self.refuse_private = true,
            Lie::CpuidCBit(bit) => {
                let at = usize::try_from(map::CPUID.start).unwrap() + 0x10 + 0x1c;
                self.low[at] = bit;
            }
            Lie::CpuidCount(count) => {
                let at = usize::try_from(map::CPUID.start).unwrap();
                self.low[at..at + 4].copy_from_slice(&count.to_le_bytes());
            }
            Lie::NoSnp => self.no_snp = true,
            Lie::ChangeMap(at, value) => self.host_map[at % MAP_BYTES] = value,
        }
    }

    fn change(&mut self, gpa: u64, change: impl FnOnce(&mut Rmp)) {
        let page = self.nested[&gpa];
        change(&mut self.rmp[page]);
    }

    /// The RMP entry that an access to `gpa` meets, if it is this guest's page at this address.
    pub fn owned(&self, gpa: u64) -> Option<Rmp> {
        let entry = self.rmp[*self.nested.get(&gpa)?];
        (entry.assigned && entry.gpa == gpa).then_some(entry)
    }

    /// A private access to every page of `range`.
    fn access(&self, range: Range) {
        if !self.snp || range.size == 0 {
            return;
        }
        let mut gpa = range.start - range.start % PAGE;
        while gpa < range.end() {
            if !self.owned(gpa).is_some_and(|page| page.valid) {
                self.dead.set(true);
            }
            gpa += PAGE;
        }
    }

    /// The memory that `range` is in, and where in it.
    fn bytes(&mut self, range: Range) -> Option<&mut [u8]> {
        let (memory, base) = match range.start < HIGH_START {
            true => (&mut self.low, 0),
            false => (&mut self.high, HIGH_START),
        };
        memory.get_mut(Self::slice(Range { start: range.start - base, size: range.size })?)
    }

    fn slice(range: Range) -> Option<std::ops::Range<usize>> {
        Some(usize::try_from(range.start).ok()?..usize::try_from(range.checked_end()?).ok()?)
    }
}

pub fn one(gpa: u64) -> Range {
    Range { start: gpa, size: PAGE }
}

impl Machine for Model {
    fn params_page(&self) -> &[u8; 4096] {
        let start = usize::try_from(map::PARAMS.start).unwrap();
        self.low[start..].first_chunk().unwrap()
    }

    fn sev_status(&mut self) -> u64 {
        self.step();
        if self.no_snp { 0 } else { 7 }
    }

    fn c_bit_in_use(&mut self) -> u8 {
        let leaf = map::BOOT_TABLE.start + map::BOOT_CODE.start / PAGE * 8;
        let leaf = usize::try_from(leaf).unwrap();
        let leaf = u64::from_le_bytes(*self.low[leaf..].first_chunk().unwrap());
        (32..52).find(|bit| leaf & paging::c_bit_mask(*bit) != 0).unwrap_or(0)
    }

    fn copy_map(&mut self) -> [u8; MAP_BYTES] {
        self.step();
        self.map_reads += 1;
        self.host_map
    }

    fn address_bits(&mut self) -> u8 {
        48
    }

    fn map_memory(&mut self, _: &[Range], _: u8) -> Result<(), Termination> {
        self.step();
        Ok(())
    }

    fn validate(&mut self, gpa: u64, size: PageSize) -> Validation {
        self.step();
        let pages = match size {
            PageSize::Small => 1,
            PageSize::Large => LARGE_PAGES,
        };
        let block = Range { start: gpa, size: pages * PAGE };
        assert!(gpa.is_multiple_of(block.size), "the processor faults on this operand");
        let is_large = self.large.iter().any(|range| range.contains(block) && pages > 1);
        if pages > 1 && !is_large {
            return Validation::SizeMismatch;
        }
        let all: Vec<u64> = (0..pages).map(|index| gpa + index * PAGE).collect();
        if all.iter().any(|page| self.fail_validation.contains(page)) {
            return Validation::Failed;
        }
        let mut unchanged = false;
        for page in all {
            let Some(entry) = self.owned(page) else {
                // A nested page fault that the host never resolves.
                self.dead.set(true);
                return Validation::Done;
            };
            unchanged |= entry.valid;
            let index = self.nested[&page];
            if !entry.valid {
                self.rmp[index].valid = true;
                *self.validated.entry(page).or_default() += 1;
                self.touched.remove(&page);
            }
        }
        if unchanged { Validation::Unchanged } else { Validation::Done }
    }

    fn touch(&mut self, gpa: u64) {
        self.step();
        self.access(one(gpa));
        *self.touched.entry(gpa).or_default() += 1;
    }

    fn make_private(&mut self, range: Range) -> Result<(), Termination> {
        self.step();
        if self.refuse_private {
            return Err(Termination::PageStateChange);
        }
        for gpa in (range.start..range.end()).step_by(PAGE as usize) {
            if !self.pretend_private {
                self.change(gpa, |page| {
                    (page.assigned, page.valid) = (true, false);
                });
            }
        }
        Ok(())
    }

    fn copy_staged(&mut self, from: Range, to: u64) -> Result<(), Termination> {
        self.step();
        let target = Range { start: to, size: from.size };
        self.access(target);
        let source = Range { start: from.start - self.staging_at, size: from.size };
        let source = self.staging[Self::slice(source).unwrap()].to_vec();
        self.bytes(target).unwrap().copy_from_slice(&source);
        self.step();
        Ok(())
    }

    fn copy(&mut self, from: Range, to: u64) -> Result<(), Termination> {
        self.step();
        let target = Range { start: to, size: from.size };
        self.access(from);
        self.access(target);
        assert!(!from.overlaps(target), "copy of overlapping ranges");
        self.low.copy_within(Self::slice(from).unwrap(), usize::try_from(to).unwrap());
        Ok(())
    }

    fn clear(&mut self, range: Range) -> Result<(), Termination> {
        self.step();
        self.access(range);
        self.low[Self::slice(range).unwrap()].fill(0);
        Ok(())
    }

    fn memory(&self, range: Range) -> Option<&[u8]> {
        self.access(range);
        assert!(range.start != 0, "a reference to address 0");
        self.low.get(Self::slice(range)?)
    }

    fn far_memory(&mut self, range: Range) -> Option<&[u8]> {
        self.step();
        self.access(range);
        assert_eq!(range.start >> 30, (range.end() - 1) >> 30, "more than a window shows");
        self.bytes(range).map(|bytes| &*bytes)
    }

    fn memory_mut(&mut self, range: Range) -> Option<&mut [u8]> {
        self.step();
        self.access(range);
        assert!(range.start != 0, "a reference to address 0");
        self.low.get_mut(Self::slice(range)?)
    }

    fn hash_engine(&mut self) -> Engine {
        Engine::Software
    }

    fn mark(&mut self, _: u16, step: u8) {
        self.marks.push(step);
    }
    fn mark_by_page(&mut self, gpa: u64) {
        self.marks_by_page.push(gpa);
    }
}
