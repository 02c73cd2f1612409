//! `tiphys image`: the images of the node. Through the running server where there is one, else on its files directly.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::{
    admin::{self, Answer, Command, ImageRow, Images},
    layout::{DEFAULT_DATA_DIR, Layout},
    registries,
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Data directory of the cluster
    #[arg(long, global = true, default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Import docker or OCI archives
    Import {
        /// Archives (.tar, also compressed with gzip or zstd)
        #[arg(required = true)]
        archives: Vec<PathBuf>,
        /// Give the image this name, instead of those in the archive
        #[arg(long = "tag")]
        tags: Vec<String>,
    },
    /// List images
    #[command(visible_alias = "ls")]
    List {
        /// Print only ids
        #[arg(short, long)]
        quiet: bool,
    },
    /// Remove images by name or id
    #[command(name = "rm", visible_alias = "remove")]
    Remove {
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Write images into an archive that docker and OCI tools read
    Export {
        /// The archive
        #[arg(short, long)]
        output: PathBuf,
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Fetch an image from its registry
    Pull {
        image: String,
        /// `user:password` for the registry
        #[arg(long, env = "TIPHYS_REGISTRY_CREDENTIALS", hide_env_values = true)]
        creds: Option<String>,
    },
    /// Build an image from Debian packages
    Pack {
        /// `busybox`, `nginx`, `echo`, or a file that says what goes into the image (YAML or JSON)
        recipe: String,
        /// The archive to write
        #[arg(short, long)]
        output: PathBuf,
    },
}

/// Images that can be built on a machine without any registry.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Recipe {
    Busybox,
    Nginx,
    Echo,
}

impl Recipe {
    pub(crate) fn pack(self, output: &std::path::Path) -> anyhow::Result<()> {
        let recipe = match self {
            Self::Busybox => images::pack::busybox(),
            Self::Nginx => images::pack::nginx(),
            Self::Echo => images::pack::echo(),
        };
        write_archive(&recipe, output)
    }
}

fn read_recipe(path: &str) -> anyhow::Result<images::pack::Recipe> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{path:?} is neither busybox, nginx, echo nor a file with a recipe"))?;
    serde_saphyr::from_str(&text).with_context(|| format!("read the recipe {path}"))
}

fn write_archive(recipe: &images::pack::Recipe, output: &std::path::Path) -> anyhow::Result<()> {
    let cache = std::env::temp_dir().join("tiphys-packages");
    std::fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let packed = images::pack::pack(recipe, &cache)?;
    if let Some(directory) = output.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    std::fs::write(output, packed.archive).with_context(|| format!("write {}", output.display()))
}

pub(crate) fn main(arguments: Arguments) -> anyhow::Result<()> {
    let layout = Layout::new(&arguments.data_dir)?;
    let commands = match arguments.verb {
        Verb::Pack { recipe, output } => {
            return match Recipe::from_str(&recipe, false) {
                Ok(known) => known.pack(&output),
                Err(_) => write_archive(&read_recipe(&recipe)?, &output),
            };
        }
        Verb::Import { archives, tags } => archives
            .iter()
            .map(|path| Ok(Command::Import { path: std::path::absolute(path)?, names: tags.clone() }))
            .collect::<anyhow::Result<Vec<_>>>()?,
        Verb::List { quiet } => {
            let answer = run(&layout, Command::List)?;
            return print(&answer, quiet);
        }
        Verb::Remove { images } => vec![Command::Remove { names: images }],
        Verb::Export { output, images } => vec![Command::Export { path: std::path::absolute(output)?, names: images }],
        Verb::Pull { image, creds } => {
            let (username, password) = creds.as_deref().and_then(|text| text.split_once(':')).unwrap_or_default();
            vec![Command::Pull { name: image, username: username.to_owned(), password: password.to_owned() }]
        }
    };
    for command in commands {
        print(&run(&layout, command)?, false)?;
    }
    Ok(())
}

fn run(layout: &Layout, command: Command) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(answer) = admin::ask(&layout.socket(), &command).await? {
            return Ok(answer);
        }
        layout.check_ownership()?;
        layout.create()?;
        let images = open(layout)?;
        Ok(images.run(command).await)
    })
}

/// The node's images, to work on while no server has them.
pub(crate) fn open(layout: &Layout) -> anyhow::Result<Arc<Images>> {
    let store = images::Store::open(layout.image_store())?;
    let puller = images::Puller::new(store.clone(), registries::load(&layout.registries())?);
    Ok(Arc::new(Images { store, puller, changed: tokio::sync::watch::Sender::new(()) }))
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn print(answer: &Answer, quiet: bool) -> anyhow::Result<()> {
    match answer {
        Answer::Error(message) => bail!("{message}"),
        Answer::Lines(lines) => lines.iter().for_each(|line| println!("{line}")),
        Answer::Images(images) if quiet => images.iter().for_each(|image| println!("{}", image.id)),
        Answer::Images(images) => print!("{}", table(images)),
    }
    Ok(())
}

/// Columns as `crictl images` has them.
fn table(images: &[ImageRow]) -> String {
    let mut rows = vec![["IMAGE".to_owned(), "TAG".to_owned(), "IMAGE ID".to_owned(), "SIZE".to_owned()]];
    for image in images {
        let id = image.id.trim_start_matches("sha256:").chars().take(13).collect::<String>();
        let names = if image.names.is_empty() { vec!["<none>:<none>".to_owned()] } else { image.names.clone() };
        for name in names {
            let slash = name.rfind('/').map_or(0, |at| at + 1);
            let (repository, tag) = match name[slash..].find(':') {
                Some(colon) => (name[..slash + colon].to_owned(), name[slash + colon + 1..].to_owned()),
                None => (name.clone(), "<none>".to_owned()),
            };
            rows.push([repository, tag, id.clone(), human_size(image.size)]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut out = String::new();
    for [image, tag, id, size] in &rows {
        out.push_str(&format!("{image:0$}   {tag:1$}   {id:2$}   {size}\n", widths[0], widths[1], widths[2]));
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "printed with three digits")]
fn human_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" {
                format!("{bytes}B")
            } else {
                format!("{value:.3}").chars().take(4).collect::<String>().trim_end_matches('.').to_owned() + unit
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1}TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_read_as_crictls() {
        let row = ImageRow {
            id: "sha256:0123456789abcdef".into(),
            names: vec!["docker.io/library/nginx:latest".into(), "localhost:5000/a".into()],
            size: 12_345_678,
        };
        assert_eq!(
            table(&[row]),
            "IMAGE                     TAG      IMAGE ID        SIZE\n\
             docker.io/library/nginx   latest   0123456789abc   12.3MB\n\
             localhost:5000/a          <none>   0123456789abc   12.3MB\n"
        );
        assert_eq!(
            (human_size(999), human_size(1500), human_size(150_000)),
            ("999B".into(), "1.50kB".into(), "150kB".into())
        );
    }
}
