//! How a supervisor starts a front.

use crate::error::PlanError;
use crate::plan::Plan;
use casemate_sandbox::{Child, Image, Layers, SandboxError, spawn_image_with};
use std::os::fd::BorrowedFd;

/// What a front is given.
#[derive(Debug, Clone, Copy)]
pub struct Descriptors<'a> {
    /// Leads to its supervisor (SEQPACKET): it says [`casemate_relay::Word`]s. When the
    /// supervisor's end is closed, or says anything, the front takes no more connections, answers
    /// what is asked, and ends.
    pub control: BorrowedFd<'a>,
    /// Leads to the keeper (STREAM): calls and answers.
    pub keeper: BorrowedFd<'a>,
    /// Leads to the keeper (STREAM): what is to be signed, one at a time, and signatures. Somebody
    /// has to answer there at once, since the front waits for it.
    pub signer: BorrowedFd<'a>,
    /// What it listens on: sockets that do not wait (`O_NONBLOCK`), in the plan's order.
    pub listeners: &'a [BorrowedFd<'a>],
}

/// Why a front cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it would be told makes no sense.
    #[error("the front: {0}")]
    Plan(#[from] PlanError),
    /// It cannot be started or locked.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Starts a front with `layers` (see [`crate::layers`]). `before` is called before it begins, see
/// [`spawn_image_with`].
///
/// # Errors
/// [`StartError`].
pub fn spawn(
    image: &Image,
    layers: Layers,
    plan: &Plan,
    given: &Descriptors<'_>,
    before: impl FnOnce(&Child),
) -> Result<Child, StartError> {
    let start = plan.encode()?;
    if given.listeners.len() != plan.listeners.len() {
        return Err(PlanError::Listeners.into());
    }
    let layers = layers.keep(&given.control).keep(&given.keeper).keep(&given.signer);
    let layers = given.listeners.iter().fold(layers, Layers::keep);
    Ok(spawn_image_with(layers, image, &start, before)?)
}
