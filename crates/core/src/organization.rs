//! [`Organization`]: whom the server serves. One server is one organization.

/// The names that the server answers to: none, its own, and the first label of its public host, which is
/// what the public Terraform provider makes up when a key names no organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    name: String,
    host_label: String,
}

impl Organization {
    /// An organization of that name (empty by default) at a public host.
    pub fn new(name: &str, public_host: &str) -> Self {
        let host_label = public_host.split('.').next().unwrap_or_default().to_owned();
        Self { name: name.to_owned(), host_label }
    }

    /// Its own name; empty by default.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a request for that name is for this server.
    pub fn answers_to(&self, asked: &str) -> bool {
        asked.is_empty() || asked == self.name || asked == self.host_label
    }

    /// What the public class takes for the organization on a serverless endpoint (the claim `userhandle`): a
    /// name that this server answers to.
    pub fn user_handle(&self) -> &str {
        if self.name.is_empty() { &self.host_label } else { &self.name }
    }
}
