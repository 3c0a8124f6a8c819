//! [`Path`]: the path of a request, after checks that no upstream can read it differently.

/// The path of a request without its query, checked and decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Box<str>);

/// Why the path of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("the path does not begin with exactly one slash")]
    Origin,
    #[error("the path has a character that is not allowed in it")]
    Character,
}

impl Path {
    /// Checks the path of a request, as it was received and without its query.
    ///
    /// # Errors
    /// [`InvalidPath`], if an upstream could read the path in another way.
    pub fn parse(path: &str) -> Result<Self, InvalidPath> {
        if !path.starts_with('/') || path.contains("//") {
            return Err(InvalidPath::Origin);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if !path.bytes().all(allowed) || path.split('/').any(|segment| segment == "..") {
            return Err(InvalidPath::Character);
        }
        Ok(Self(path.into()))
    }

    /// The decoded path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
