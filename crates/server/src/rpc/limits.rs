//! Limits of every call.

use std::time::Duration;

/// Maximum bytes of a request, compressed or not. The largest legitimate request, with fifty
/// redirect URIs, has a tenth of that.
pub(super) const MAX_REQUEST: usize = 1 << 20;
/// Maximum bytes of a request that is empty or tiny, so that callers without a role cannot exhaust
/// memory.
pub(super) const MAX_SMALL_REQUEST: usize = 16 * 1024;
/// How long a call may take when its caller sets no deadline.
pub(super) const DEFAULT_DEADLINE: Duration = Duration::from_secs(15);
/// The longest deadline that a caller can set.
pub(super) const MAX_DEADLINE: Duration = Duration::from_secs(30);
