//! Tokens of a file, read at the start: `token,user,uid,"group,group"`. Upstream: `token/tokenfile`.

use std::{collections::HashMap, path::Path};

use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    UserInfo,
    auth::{AuthenticationError, TokenIdentity},
};

use super::TokenAuthenticator;
use crate::cache::Digest;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("token auth file: {0}")]
pub struct TokenFileError(String);

/// Users by tokens; only digests of the tokens are kept.
pub struct TokenFile(HashMap<Digest, UserInfo>);

impl TokenFile {
    /// Reads `--token-auth-file`.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let text = crate::reload::read(path).map_err(|error| TokenFileError(format!("{}: {error}", path.display())))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut users = HashMap::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let columns =
                columns(line).ok_or_else(|| TokenFileError(format!("line {number}: a quote is not closed")))?;
            let [token, name, uid, rest @ ..] = columns.as_slice() else {
                return Err(TokenFileError(format!(
                    "token file must have at least 3 columns (token, user name, user uid), found {} in line {number}",
                    columns.len()
                )));
            };
            if token.is_empty() {
                tracing::warn!(line = number, "empty token has been found in token file");
                continue;
            }
            let groups = rest.first().map(|groups| groups.split(',').map(|group| group.trim().to_owned()).collect());
            let user = UserInfo {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups.filter(|groups: &Vec<String>| groups.iter().any(|g| !g.is_empty())).unwrap_or_default(),
                ..UserInfo::default()
            };
            if users.insert(Digest::of(&[token.as_bytes()]), user).is_some() {
                tracing::warn!(line = number, "duplicate token has been found in token file");
            }
        }
        Ok(Self(users))
    }
}

/// Columns between commas; those in quotes may have commas, and quotes as two of them.
fn columns(line: &str) -> Option<Vec<String>> {
    let (mut all, mut column, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.trim().chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                column.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut column)),
            other => column.push(other),
        }
    }
    all.push(column);
    (!quoted).then_some(all)
}

impl TokenAuthenticator for TokenFile {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>> {
        let user = self.0.get(&Digest::of(&[token.as_bytes()])).cloned();
        ready(Ok(user.map(|user| TokenIdentity { user, audiences: audiences.to_vec() }))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn users_of_a_file() {
        let file =
            TokenFile::parse("one,ada,7,\"dev,system:masters\"\ntwo,bob,8\n\n,none,9\nthree,c,1,solo\n").unwrap();
        let user = async |token: &str| file.authenticate(token, &[]).await.unwrap().map(|identity| identity.user);
        assert_eq!(user("one").await.unwrap().groups, ["dev", "system:masters"]);
        assert_eq!(user("three").await.unwrap().groups, ["solo"]);
        let bob = user("two").await.unwrap();
        assert_eq!((bob.name.as_str(), bob.uid.as_str(), bob.groups.len()), ("bob", "8", 0));
        assert!(user("").await.is_none() && user("tw").await.is_none());
        assert!(TokenFile::parse("one,ada").is_err());
        assert!(TokenFile::parse("one,ada,\"7").is_err());
    }
}
