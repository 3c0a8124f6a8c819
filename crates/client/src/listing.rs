//! [`Listing`]: a stream of API keys, fetched page by page.

use std::{
    collections::HashSet,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use futures::{Stream, StreamExt, stream::BoxStream};

use crate::Error;

/// A [`Stream`] of listed items, which fetches each page when it is needed.
///
/// The stream is [`Unpin`].
///
/// ```no_run
/// use futures::TryStreamExt;
///
/// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
/// let keys: Vec<_> = gatekey_client::ApiKey::listall(&client, 10).try_collect().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing before it is read"]
pub struct Listing<T> {
    pages: BoxStream<'static, Result<Vec<T>, Error>>,
    /// The rest of the last page.
    ready: vec::IntoIter<T>,
}

impl<T> Listing<T> {
    /// Follows the pages that `fetch` returns for a page size and a page token.
    pub(crate) fn new<F>(
        limit: Option<usize>,
        page_size: u32,
        fetch: impl Fn(u32, String) -> F + Send + 'static,
    ) -> Self
    where
        T: Send + 'static,
        F: Future<Output = Result<Page<T>, Error>> + Send + 'static,
    {
        let pages =
            futures::stream::unfold(Pages::new(limit, page_size, fetch), |mut pages| async {
                let items = pages.next().await?;
                Some((items, pages))
            });
        Self { pages: pages.boxed(), ready: Vec::new().into_iter() }
    }

    /// Returns the rest of the current page, or fetches the next one; `None` at the end.
    ///
    /// A page may be empty although more follow.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let mut keys = gatekey_client::ApiKey::listall(&client, None);
    /// while let Some(page) = keys.next_page().await {
    ///     println!("{} more", page?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_page(&mut self) -> Option<Result<Vec<T>, Error>> {
        if self.ready.len() > 0 {
            return Some(Ok(mem::take(&mut self.ready).collect()));
        }
        self.pages.next().await
    }
}

// No field is pinned structurally.
impl<T> Unpin for Listing<T> {}

impl<T> Stream for Listing<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.ready.next() {
                return Poll::Ready(Some(Ok(item)));
            }
            match ready!(self.pages.poll_next_unpin(context)) {
                Some(Ok(items)) => self.ready = items.into_iter(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T> fmt::Debug for Listing<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Listing")
    }
}

/// One page of a listing.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Empty on the last page.
    pub(crate) next_token: String,
}

/// The pages of a listing that are not fetched yet.
struct Pages<Fetch> {
    remaining: usize,
    page_size: u32,
    /// `None` after the last page.
    token: Option<String>,
    seen: HashSet<String>,
    fetch: Fetch,
}

impl<Fetch> Pages<Fetch> {
    fn new(limit: Option<usize>, page_size: u32, fetch: Fetch) -> Self {
        let remaining = limit.unwrap_or(usize::MAX);
        Self { remaining, page_size, token: Some(String::new()), seen: HashSet::new(), fetch }
    }

    async fn next<T, F>(&mut self) -> Option<Result<Vec<T>, Error>>
    where
        Fetch: Fn(u32, String) -> F,
        F: Future<Output = Result<Page<T>, Error>>,
    {
        if self.remaining == 0 {
            return None;
        }
        let token = self.token.take()?;
        let page_size =
            u32::try_from(self.remaining).map_or(self.page_size, |rest| rest.min(self.page_size));
        let mut page = match (self.fetch)(page_size, token).await {
            Ok(page) => page,
            Err(error) => return Some(Err(error)),
        };
        // A server may ignore the requested page size.
        page.items.truncate(self.remaining);
        self.remaining -= page.items.len();
        if !page.next_token.is_empty() {
            if self.seen.contains(&page.next_token) {
                return Some(Err(Error::internal(
                    "could not list API keys: the server repeats a page token, so the list would never end",
                )));
            }
            self.seen.insert(page.next_token.clone());
            self.token = Some(page.next_token);
        }
        Some(Ok(page.items))
    }
}
