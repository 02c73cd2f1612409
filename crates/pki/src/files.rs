//! Files of secrets: directories 0700, files 0600, replaced as a whole.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::PkiError;

/// Writes a file that only its owner can read, so that a crash leaves the old or the new content.
pub fn write_secret(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    write(path, content).map_err(|source| PkiError::Write { path: path.to_owned(), source })
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    // The parent of a bare file name is the empty path, which means here.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(directory)?.sync_all()
}

/// The file's text, or `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Read { path: path.to_owned(), source }),
    }
}

/// The file's text; where there is none, `create` makes it.
pub fn read_or_create_secret(
    path: &Path,
    create: impl FnOnce() -> Result<String, PkiError>,
) -> Result<String, PkiError> {
    if let Some(text) = read(path)? {
        return Ok(text);
    }
    let text = create()?;
    write_secret(path, text.as_bytes())?;
    Ok(text)
}
