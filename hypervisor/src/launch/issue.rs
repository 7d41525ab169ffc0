//! Issuing a plan: the one loop over its pages, for the firmware, for the digest, for a recorder in
//! tests.

use super::plan::{LaunchPlan, PageKind};
use crate::config::SnpLaunch;
use crate::memory::PAGE_BYTES;

/// Whatever takes a launch: KVM, or who only measures it.
pub trait LaunchTarget {
    /// Why it cannot take a step.
    type Error;
    /// Begins a launch under a guest policy.
    ///
    /// # Errors
    /// The target's.
    fn start(&mut self, launch: &SnpLaunch) -> Result<(), Self::Error>;
    /// Launches one page.
    ///
    /// # Errors
    /// The target's.
    fn page(
        &mut self,
        gpa: u64,
        kind: PageKind,
        what: &'static str,
        contents: &[u8; PAGE_BYTES],
    ) -> Result<(), Self::Error>;
    /// Ends the launch, with every vCPU's state.
    ///
    /// # Errors
    /// The target's.
    fn finish(&mut self, plan: &LaunchPlan, launch: &SnpLaunch) -> Result<(), Self::Error>;
}

/// Launches `plan` on `target`: its pages in their order, the CPUID page with `cpuid` as its
/// contents. Gives the number of pages, each vCPU's state included.
///
/// # Errors
/// The target's.
pub fn issue<T: LaunchTarget>(
    plan: &LaunchPlan,
    launch: &SnpLaunch,
    cpuid: &[u8; PAGE_BYTES],
    target: &mut T,
) -> Result<u64, T::Error> {
    target.start(launch)?;
    let mut count = 0;
    for pages in plan.pages() {
        for (gpa, contents) in pages.each() {
            let contents = if pages.kind == PageKind::Cpuid { cpuid } else { contents };
            target.page(gpa, pages.kind, pages.what, contents)?;
            count += 1;
        }
    }
    target.finish(plan, launch)?;
    Ok(count + u64::from(plan.vcpus))
}
