//! Bodies that may be large: raw bytes and `multipart/form-data`. Beyond [`MAX_IN_MEMORY`] their bytes wait in unnamed temporary files, so
//! that slow clients hold no memory, and nothing is left on the disk whatever ends the host.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures::Stream;
use hyper::body::Body as _;
use multer::Multipart;
use tempfile::SpooledTempFile;

use super::super::answer::HostProblem;
use super::super::details::{Failure, RequestFault};
use super::super::server::{HeldBytes, RequestBody};

/// The maximum number of bytes of one upload that are kept in memory.
const MAX_IN_MEMORY: u64 = 256 << 10;
/// The maximum number of bytes of all uploads together that wait on the disk. It is four times the greatest `limits.upload`.
const DISK_ROOM: u64 = 4 << 30;
/// The maximum number of parts of one form.
const MAX_PARTS: usize = 256;
/// The maximum size of the head of a part, and of what stands before the first boundary, in bytes. The parser searches all of it again for
/// each piece that arrives.
const MAX_HEAD: u64 = 16 << 10;
/// The maximum length of a boundary, in characters (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// The folder in which large uploads wait, and the room that they take there.
pub(in super::super) struct UploadFolder {
    path: PathBuf,
    taken: Arc<AtomicU64>,
}

impl UploadFolder {
    pub(in super::super) fn new(path: PathBuf) -> Self {
        Self { path, taken: Arc::default() }
    }
}

/// The room on the disk that an upload takes. Dropping it gives the room back.
struct DiskRoom {
    all: Arc<AtomicU64>,
    taken: u64,
}

impl DiskRoom {
    /// Takes more room. Returns whether there was so much.
    fn take(&mut self, bytes: u64) -> bool {
        let more = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= DISK_ROOM);
        let is_taken = self.all.try_update(Relaxed, Relaxed, more).is_ok();
        self.taken += if is_taken { bytes } else { 0 };
        is_taken
    }
}

impl Drop for DiskRoom {
    fn drop(&mut self) {
        self.all.fetch_sub(self.taken, Relaxed);
    }
}

/// Bytes in memory or in a temporary file.
pub(super) struct Spool {
    file: SpooledTempFile,
    length: u64,
    room: DiskRoom,
}

/// A part of the bytes of a spool.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    start: u64,
    pub(super) length: u64,
}

impl Spool {
    fn new(folder: &UploadFolder) -> Self {
        let file = SpooledTempFile::new_in(usize::try_from(MAX_IN_MEMORY).unwrap_or(usize::MAX), &folder.path);
        Self { file, length: 0, room: DiskRoom { all: folder.taken.clone(), taken: 0 } }
    }

    /// Appends bytes. Returns how many bytes memory is free of now: those that are in the file.
    ///
    /// # Errors
    ///
    /// The disk can't take them, or all uploads together have too much there.
    fn append(&mut self, bytes: &[u8]) -> Result<u64, HostProblem> {
        let length = self.length + bytes.len() as u64;
        let freed = if length > MAX_IN_MEMORY { length - self.room.taken } else { 0 };
        if freed > 0 && !self.room.take(freed) {
            return Err(HostProblem::Overloaded);
        }
        // The file system may make the thread wait.
        let written = if freed > 0 {
            tokio::task::block_in_place(|| self.file.write_all(bytes))
        } else {
            self.file.write_all(bytes)
        };
        written.map_err(|error| {
            tracing::error!(%error, "a part of a request's body can't be written to the state folder");
            HostProblem::StorageFull
        })?;
        self.length = length;
        Ok(freed)
    }

    /// The number of bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the place of all bytes.
    pub(super) fn all(&self) -> Extent {
        Extent { start: 0, length: self.length }
    }

    /// Returns a part of the bytes.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub(super) fn read(&mut self, part: Extent) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(part.start))?;
        let mut bytes = vec![0; usize::try_from(part.length).unwrap_or_default()];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// A part of a form. Its bytes are in the form's spool.
pub(super) struct Part {
    pub(super) name: String,
    /// The name that the client gave the file. An absent or empty one is `None`.
    pub(super) file_name: Option<String>,
    /// Whether the part says that it is a file, even one without a name.
    pub(super) is_file: bool,
    pub(super) media_type: Option<String>,
    pub(super) content: Extent,
}

/// What the reader of a body and the stream of its bytes share.
#[derive(Default)]
struct Shared {
    /// The room for what was read. It counts until the bytes are in a file, or the call has ended.
    held: Option<HeldBytes>,
    failure: Option<HostProblem>,
    /// The bytes that the parser of a form has searched in vain.
    searched: u64,
    /// The sizes of the last two pieces that the parser got: it may not have searched them yet.
    recent: [u64; 2],
}

impl Shared {
    fn give(&mut self, length: u64) {
        let [older, newer] = self.recent;
        self.searched += older;
        self.recent = [newer, length];
    }

    /// Notes that the parser has found a part or some of its bytes.
    fn found(&mut self) {
        self.searched = 0;
        self.recent = [0; 2];
    }
}

/// Locks what is shared. A poisoned lock is used all the same: no change can panic halfway.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a body as they arrive.
struct Arrival {
    body: RequestBody,
    shared: Arc<Mutex<Shared>>,
    left: u64,
    limit: u64,
    /// Whether a parser searches the bytes. It gets one piece after the other, because it would take all that is there, and searches each.
    is_form: bool,
    is_given: bool,
}

impl Arrival {
    /// Takes the bytes of a frame.
    fn take(&mut self, data: &Bytes) -> Result<(), HostProblem> {
        let mut shared = lock(&self.shared);
        if let Some(more) = self.body.held() {
            match &mut shared.held {
                Some(held) => held.absorb(more),
                none => *none = Some(more),
            }
        }
        let length = data.len() as u64;
        self.left = self.left.checked_sub(length).ok_or(HostProblem::BodyTooLarge { limit: self.limit })?;
        shared.give(length);
        if self.is_form && shared.searched > MAX_HEAD {
            let detail = "the head of a part, or what stands before the first boundary, has more than 16 KiB";
            return Err(HostProblem::Invalid(vec![RequestFault::body("", detail)]));
        }
        Ok(())
    }
}

impl Stream for Arrival {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.is_form && std::mem::take(&mut this.is_given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let failure = loop {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match this.take(&data) {
                        Ok(()) => {
                            this.is_given = true;
                            return Poll::Ready(Some(Ok(data)));
                        }
                        Err(failure) => break failure,
                    }
                }
                Some(Err(error)) => break super::body::problem(&error),
            }
        };
        lock(&this.shared).failure = Some(failure);
        Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into())))
    }
}

/// A body while it is read.
pub(super) struct Upload {
    arrival: Arrival,
    shared: Arc<Mutex<Shared>>,
    spool: Spool,
}

impl Upload {
    pub(super) fn new(body: RequestBody, limit: u64, folder: &UploadFolder) -> Self {
        let shared = Arc::default();
        let arrival =
            Arrival { body, shared: Arc::clone(&shared), left: limit, limit, is_form: false, is_given: false };
        Self { arrival, shared, spool: Spool::new(folder) }
    }

    /// Reads the whole body as it is.
    ///
    /// # Errors
    ///
    /// The body is too large, or does not arrive.
    pub(super) async fn raw(self) -> Result<(Spool, Option<HeldBytes>), Failure> {
        let Self { mut arrival, shared, mut spool } = self;
        while let Some(data) = futures::StreamExt::next(&mut arrival).await {
            let data = data.map_err(|_| lock(&shared).failure.take().unwrap_or(HostProblem::BodyCutOff))?;
            append(&mut spool, &data, &shared)?;
        }
        let held = lock(&shared).held.take();
        Ok((spool, held))
    }

    /// Reads the parts of a form. The spool has their bytes.
    ///
    /// # Errors
    ///
    /// As for [`Self::raw`]. The body is no form in parts, or has too many.
    pub(super) async fn parts(self, boundary: &str) -> Result<(Vec<Part>, Spool, Option<HeldBytes>), Failure> {
        let Self { arrival, shared, mut spool } = self;
        let mut form = Multipart::new(Arrival { is_form: true, ..arrival }, boundary);
        let refuse = |error: multer::Error| match lock(&shared).failure.take() {
            Some(problem) => Failure::from(problem),
            None => malformed(&error),
        };
        let mut parts = Vec::new();
        while let Some(mut field) = form.next_field().await.map_err(refuse)? {
            lock(&shared).found();
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
            let start = spool.length();
            while let Some(data) = field.chunk().await.map_err(refuse)? {
                lock(&shared).found();
                append(&mut spool, &data, &shared)?;
            }
            let content = Extent { start, length: spool.length() - start };
            parts.push(Part { name, file_name, is_file, media_type, content });
        }
        let held = lock(&shared).held.take();
        Ok((parts, spool, held))
    }
}

/// Returns the boundary that a media type names.
///
/// # Errors
///
/// It names none, or one that no form can have.
pub(super) fn boundary(media_type: &str) -> Result<String, Failure> {
    let refuse = |detail: &str| super::body::invalid(RequestFault::header(&CONTENT_TYPE, detail));
    let boundary = multer::parse_boundary(media_type).ok().filter(|boundary| !boundary.is_empty());
    let boundary = boundary.ok_or_else(|| refuse("it names no `boundary`"))?;
    if boundary.len() > MAX_BOUNDARY {
        return Err(refuse("its `boundary` has more than 70 characters"));
    }
    Ok(boundary)
}

fn append(spool: &mut Spool, data: &[u8], shared: &Mutex<Shared>) -> Result<(), Failure> {
    let freed = spool.append(data)?;
    if let Some(held) = &mut lock(shared).held {
        held.shrink(freed);
    }
    Ok(())
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
