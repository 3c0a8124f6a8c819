//! The same operations for code without an async runtime.
//!
//! Calls run on one background thread, which starts at the first call and keeps connections and
//! tokens between calls. Async code should use [`crate::ApiKey`]: a blocking call there does not
//! panic, but blocks the thread. A child process has no background thread, so fork before the first
//! call.
//!
//! ```no_run
//! use gatekey_client::blocking::{ApiKey, Client};
//!
//! let client = Client::from_env()?;
//! for key in ApiKey::listall(&client, 10) {
//!     println!("{}", key?.client_id());
//! }
//! # Ok::<(), gatekey_client::Error>(())
//! ```

use std::{
    fmt,
    sync::{OnceLock, mpsc},
};

use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};

use crate::{
    Claims, ClientBuilder, CreateOptions, Error, KeyDetails, RotateOptions, SettingsUpdate,
    UpdateOptions, UserInfo, VerifyError,
};

/// The runtime of all blocking calls. It is never dropped, because a runtime cannot be dropped
/// inside another one.
fn runtime() -> Result<&'static Runtime, Error> {
    static RUNTIME: OnceLock<Result<Runtime, Error>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("gatekey-client")
            .enable_all()
            .build()
            .map_err(|error| Error::internal("cannot start the background thread").caused_by(error))
    });
    runtime.as_ref().map_err(Clone::clone)
}

/// Runs a call on the background thread and waits. Unlike `Runtime::block_on`, this is allowed
/// inside another runtime.
fn wait<T: Send + 'static>(
    call: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Fails only if the waiting thread panicked.
        let _ = sender.send(call.await);
    });
    receiver
        .recv()
        .unwrap_or_else(|_| Err(Error::internal("the background thread panicked during the call")))
}

/// A blocking [`crate::Client`].
///
/// ```no_run
/// use gatekey_client::blocking::Client;
///
/// let builder = gatekey_client::Client::builder().endpoint("h").fill_from_env()?;
/// let client = Client::from(builder.build()?);
/// println!("{}", client.whoami()?.subject);
/// # Ok::<(), gatekey_client::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client(crate::Client);

impl Client {
    /// The same as [`crate::Client::builder`]. Use [`From`] to make the built client blocking.
    pub fn builder() -> ClientBuilder {
        crate::Client::builder()
    }

    /// The same as [`crate::Client::from_env`].
    pub fn from_env() -> Result<Self, Error> {
        crate::Client::from_env().map(Self)
    }

    /// Returns the async client.
    pub fn as_async(&self) -> &crate::Client {
        &self.0
    }

    /// The same as [`crate::Client::endpoint`].
    pub fn endpoint(&self) -> &str {
        self.0.endpoint()
    }

    /// The same as [`crate::Client::access_token`].
    pub fn access_token(&self) -> Result<String, Error> {
        let client = self.0.clone();
        wait(async move { client.access_token().await })
    }

    /// The same as [`crate::Client::whoami`].
    pub fn whoami(&self) -> Result<UserInfo, Error> {
        let client = self.0.clone();
        wait(async move { client.whoami().await })
    }
}

/// A blocking [`crate::Verifier`].
///
/// ```no_run
/// use gatekey_client::blocking::Verifier;
///
/// let (issuer, audience) = ("https://keys.example.com", "https://flyte.example.com");
/// let verifier = gatekey_client::Verifier::builder(issuer, audience).build()?;
/// let verifier = Verifier::from(verifier);
/// println!("{}", verifier.verify("eyJ...")?.client_id);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Verifier(crate::Verifier);

impl Verifier {
    /// The same as [`crate::Verifier::verify`].
    pub fn verify(&self, token: &str) -> Result<Claims, VerifyError> {
        let (verifier, token) = (self.0.clone(), token.to_owned());
        wait(async move { Ok(verifier.verify(&token).await) })
            .map_err(VerifyError::KeysUnavailable)?
    }
}

impl From<crate::Verifier> for Verifier {
    fn from(verifier: crate::Verifier) -> Self {
        Self(verifier)
    }
}

impl From<crate::Client> for Client {
    fn from(client: crate::Client) -> Self {
        Self(client)
    }
}

/// The blocking operations of [`crate::ApiKey`].
///
/// ```no_run
/// use gatekey_client::blocking::{ApiKey, Client};
///
/// let client = Client::from_env()?;
/// let key = ApiKey::create(&client, "ci-pipeline")?;
/// ApiKey::delete(&client, key.client_id())?;
/// # Ok::<(), gatekey_client::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub enum ApiKey {}

impl ApiKey {
    /// The same as [`crate::ApiKey::create`].
    pub fn create(client: &Client, name: &str) -> Result<crate::ApiKey, Error> {
        Self::create_with(client, CreateOptions::new(name))
    }

    /// The same as [`crate::ApiKey::create_with`].
    pub fn create_with(client: &Client, options: CreateOptions) -> Result<crate::ApiKey, Error> {
        let client = client.0.clone();
        wait(async move { crate::ApiKey::create_with(&client, options).await })
    }

    /// The same as [`crate::ApiKey::get`].
    pub fn get(client: &Client, client_id: &str) -> Result<crate::ApiKey, Error> {
        let (client, client_id) = (client.0.clone(), client_id.to_owned());
        wait(async move { crate::ApiKey::get(&client, &client_id).await })
    }

    /// The same as [`crate::ApiKey::listall`].
    pub fn listall(client: &Client, limit: impl Into<Option<usize>>) -> Listing<crate::ApiKey> {
        Listing(Some(crate::ApiKey::listall(&client.0, limit)))
    }

    /// The same as [`crate::ApiKey::update`].
    pub fn update(
        client: &Client,
        client_id: &str,
        options: UpdateOptions,
    ) -> Result<crate::ApiKey, Error> {
        let (client, client_id) = (client.0.clone(), client_id.to_owned());
        wait(async move { crate::ApiKey::update(&client, &client_id, options).await })
    }

    /// The same as [`crate::ApiKey::delete`].
    pub fn delete(client: &Client, client_id: &str) -> Result<(), Error> {
        let (client, client_id) = (client.0.clone(), client_id.to_owned());
        wait(async move { crate::ApiKey::delete(&client, &client_id).await })
    }

    /// The same as [`crate::ApiKey::rotate`].
    pub fn rotate(
        client: &Client,
        client_id: &str,
        options: RotateOptions,
    ) -> Result<crate::ApiKey, Error> {
        let (client, client_id) = (client.0.clone(), client_id.to_owned());
        wait(async move { crate::ApiKey::rotate(&client, &client_id, options).await })
    }

    /// The same as [`crate::ApiKey::disable`].
    pub fn disable(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        let (client, client_id) = (client.0.clone(), client_id.to_owned());
        wait(async move { crate::ApiKey::disable(&client, &client_id).await })
    }

    /// The same as [`crate::ApiKey::enable`].
    pub fn enable(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        let (client, client_id) = (client.0.clone(), client_id.to_owned());
        wait(async move { crate::ApiKey::enable(&client, &client_id).await })
    }

    /// The same as [`crate::ApiKey::retire_secret`].
    pub fn retire_secret(
        client: &Client,
        client_id: &str,
        secret_id: &str,
    ) -> Result<KeyDetails, Error> {
        let (client, client_id, secret_id) =
            (client.0.clone(), client_id.to_owned(), secret_id.to_owned());
        wait(async move { crate::ApiKey::retire_secret(&client, &client_id, &secret_id).await })
    }

    /// The same as [`crate::ApiKey::details`].
    pub fn details(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        let (client, client_id) = (client.0.clone(), client_id.to_owned());
        wait(async move { crate::ApiKey::details(&client, &client_id).await })
    }

    /// The same as [`crate::ApiKey::list_details`].
    pub fn list_details(client: &Client, limit: impl Into<Option<usize>>) -> Listing<KeyDetails> {
        Listing(Some(crate::ApiKey::list_details(&client.0, limit)))
    }

    /// The same as [`crate::ApiKey::update_settings`].
    pub fn update_settings(
        client: &Client,
        client_id: &str,
        update: SettingsUpdate,
    ) -> Result<KeyDetails, Error> {
        let (client, client_id) = (client.0.clone(), client_id.to_owned());
        wait(async move { crate::ApiKey::update_settings(&client, &client_id, update).await })
    }
}

/// An iterator over listed items, which fetches each page when it is needed.
///
/// ```no_run
/// # fn example(client: gatekey_client::blocking::Client) -> Result<(), gatekey_client::Error> {
/// use gatekey_client::blocking::ApiKey;
///
/// let keys = ApiKey::listall(&client, None).collect::<Result<Vec<_>, _>>()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "an iterator does nothing before it is read"]
pub struct Listing<T>(Option<crate::Listing<T>>);

impl<T: Send + 'static> Iterator for Listing<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut stream = self.0.take()?;
        let next = wait(async move {
            let next = stream.next().await;
            Ok((next, stream))
        });
        match next {
            Ok((Some(item), stream)) => {
                self.0 = Some(stream);
                Some(item)
            }
            Ok((None, _)) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl<T> fmt::Debug for Listing<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Listing")
    }
}
