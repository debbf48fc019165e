//! Bodies that may be large: raw bytes and `multipart/form-data`. Beyond [`MAX_IN_MEMORY`] their bytes wait in unnamed temporary files, so
//! that slow clients hold no memory, and nothing is left on the disk whatever ends the host.

use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use hyper::body::Body as _;
use multer::Multipart;
use tempfile::SpooledTempFile;

use super::super::answer::HostProblem;
use super::super::details::{Failure, RequestFault};
use super::super::server::{HeldBytes, RequestBody};

/// The maximum number of bytes of one file or raw body that are kept in memory.
const MAX_IN_MEMORY: usize = 256 << 10;
/// The maximum number of parts of one form.
const MAX_PARTS: usize = 256;

/// Bytes in memory or in a temporary file.
pub(super) struct Spool {
    file: SpooledTempFile,
    length: u64,
}

impl Spool {
    pub(super) fn new(folder: &Path) -> Self {
        Self { file: SpooledTempFile::new_in(MAX_IN_MEMORY, folder), length: 0 }
    }

    /// Appends bytes. Returns how many bytes memory is free of now: those that are in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let was_in_file = self.file.is_rolled();
        // The file system may make the thread wait.
        let is_large = was_in_file || self.length + bytes.len() as u64 > MAX_IN_MEMORY as u64;
        if is_large {
            tokio::task::block_in_place(|| self.file.write_all(bytes))?;
        } else {
            self.file.write_all(bytes)?;
        }
        let before = self.length;
        self.length += bytes.len() as u64;
        Ok(match (was_in_file, self.file.is_rolled()) {
            (true, _) => bytes.len() as u64,
            (false, true) => before + bytes.len() as u64,
            (false, false) => 0,
        })
    }

    /// The number of bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Returns all bytes.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        self.file.rewind()?;
        let mut bytes = Vec::with_capacity(usize::try_from(self.length).unwrap_or_default());
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A part of a form.
pub(super) struct Part {
    pub(super) name: String,
    /// The name that the client gave the file. An absent or empty one is `None`.
    pub(super) file_name: Option<String>,
    /// Whether the part says that it is a file, even one without a name.
    pub(super) is_file: bool,
    pub(super) media_type: Option<String>,
    pub(super) content: Spool,
}

/// The bytes of a body as they arrive. What was read counts as held until it is in a file, or the call has ended.
struct Arrival {
    body: RequestBody,
    held: Arc<Mutex<Option<HeldBytes>>>,
    failure: Arc<Mutex<Option<HostProblem>>>,
    left: u64,
    limit: u64,
}

impl Stream for Arrival {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let failure = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some(more) = this.body.held() {
                        let mut held = this.held.lock().unwrap_or_else(PoisonError::into_inner);
                        match &mut *held {
                            Some(held) => held.absorb(more),
                            none => *none = Some(more),
                        }
                    }
                    match this.left.checked_sub(data.len() as u64) {
                        Some(left) => {
                            this.left = left;
                            return Poll::Ready(Some(Ok(data)));
                        }
                        None => HostProblem::BodyTooLarge { limit: this.limit },
                    }
                }
                Some(Err(error)) => super::body::problem(&error),
            };
            *this.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            return Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into())));
        }
    }
}

/// A body while it is read.
pub(super) struct Upload {
    arrival: Arrival,
    held: Arc<Mutex<Option<HeldBytes>>>,
    failure: Arc<Mutex<Option<HostProblem>>>,
}

impl Upload {
    pub(super) fn new(body: RequestBody, limit: u64) -> Self {
        let (held, failure) = (Arc::default(), Arc::default());
        let arrival = Arrival { body, held: Arc::clone(&held), failure: Arc::clone(&failure), left: limit, limit };
        Self { arrival, held, failure }
    }

    /// Reads the whole body as it is.
    ///
    /// # Errors
    ///
    /// The body is too large, or does not arrive.
    pub(super) async fn raw(mut self, folder: &Path) -> Result<(Spool, Option<HeldBytes>), Failure> {
        let mut spool = Spool::new(folder);
        while let Some(data) = futures::StreamExt::next(&mut self.arrival).await {
            let data = data.map_err(|_| take_failure(&self.failure))?;
            append(&mut spool, &data, &self.held)?;
        }
        Ok((spool, take(&self.held)))
    }

    /// Reads the parts of a form.
    ///
    /// # Errors
    ///
    /// As for [`Self::raw`]. The body is no form in parts, or has too many.
    pub(super) async fn parts(self, boundary: &str, folder: &Path) -> Result<(Vec<Part>, Option<HeldBytes>), Failure> {
        let Self { arrival, held, failure } = self;
        // The limit of the arrival also bounds what the parser keeps of a head that does not end.
        let mut form = Multipart::new(arrival, boundary);
        let refuse = |error: multer::Error| match take(&failure) {
            Some(problem) => Failure::from(problem),
            None => malformed(&error),
        };
        let mut parts = Vec::new();
        while let Some(mut field) = form.next_field().await.map_err(refuse)? {
            if parts.len() == MAX_PARTS {
                return Err(invalid(format!("the form has more than {MAX_PARTS} parts")));
            }
            let Some(name) = field.name().map(ToOwned::to_owned) else {
                return Err(invalid(format!("part {} of the form has no name", parts.len() + 1)));
            };
            let file_name = field.file_name().map(ToOwned::to_owned);
            let is_file = file_name.is_some();
            let file_name = file_name.filter(|name| !name.is_empty());
            let media_type = field.content_type().map(ToString::to_string);
            let mut content = Spool::new(folder);
            while let Some(data) = field.chunk().await.map_err(refuse)? {
                append(&mut content, &data, &held)?;
            }
            parts.push(Part { name, file_name, is_file, media_type, content });
        }
        Ok((parts, take(&held)))
    }
}

fn append(spool: &mut Spool, data: &[u8], held: &Mutex<Option<HeldBytes>>) -> Result<(), Failure> {
    let freed = spool.append(data).map_err(|error| {
        tracing::error!(%error, "a part of a request's body can't be written to the state folder");
        Failure::from(HostProblem::StorageFull)
    })?;
    if let Some(held) = &mut *held.lock().unwrap_or_else(PoisonError::into_inner) {
        held.shrink(freed);
    }
    Ok(())
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn take_failure(slot: &Mutex<Option<HostProblem>>) -> Failure {
    take(slot).unwrap_or(HostProblem::BodyCutOff).into()
}

fn malformed(error: &multer::Error) -> Failure {
    let detail = match error {
        multer::Error::IncompleteStream
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteFieldData { .. } => "the form ends before its last boundary".to_owned(),
        multer::Error::ReadHeaderFailed(_)
        | multer::Error::DecodeHeaderName { .. }
        | multer::Error::DecodeHeaderValue { .. } => {
            "the head of a part is not valid, or has more than 32 fields".to_owned()
        }
        _ => "the body is not a form in parts with the boundary that `Content-Type` names".to_owned(),
    };
    invalid(detail)
}

fn invalid(detail: String) -> Failure {
    super::body::invalid(RequestFault::body("", detail))
}
