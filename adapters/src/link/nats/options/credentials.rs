//! Keys of users: seeds, and the files that hold one beside its JWT.

use std::path::Path;

use nkeys::{KeyPair, KeyPairType};

/// A credentials file's two blocks.
pub(super) struct Credentials {
    pub(super) jwt: String,
    key: KeyPair,
}

impl Credentials {
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|why| format!("the file can be read ({})", why.kind()))?;
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let mut blocks = lines.windows(3).filter_map(|lines| match lines {
            [begin, block, end]
                if begin.starts_with("---")
                    && begin.contains("BEGIN")
                    && end.starts_with("---") =>
            {
                Some(*block)
            }
            _ => None,
        });
        let (Some(jwt), Some(seed)) = (blocks.next(), blocks.next()) else {
            return Err("the file holds a user's JWT and then its seed".into());
        };
        let key = user_key(seed)?;
        let jwt = jwt.to_owned();
        Ok(Self { jwt, key })
    }

    pub(super) fn answer(self, nonce: &[u8]) -> Result<async_nats::Auth, String> {
        let signature = self.key.sign(nonce).map_err(|why| why.to_string())?;
        let mut login = async_nats::Auth::new();
        login.jwt = Some(self.jwt);
        login.signature = Some(signature);
        Ok(login)
    }
}

pub(super) fn user_key(seed: &str) -> Result<KeyPair, &'static str> {
    let key = KeyPair::from_seed(seed).map_err(|_| "the seed is one that `nk` would write")?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(key),
        _ => Err("the seed is that of a user (it starts with SU)"),
    }
}
