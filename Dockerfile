# The image: one static binary and nothing else. docs/image.md says how to build it and what was weighed.

# Any Debian with cargo, rustup and gcc. A mirror or a digest goes here: --build-arg RUST_IMAGE=…
ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm

# Compiles on the machine's own processor for the one asked for. The buildah of Debian 12 leaves BUILDPLATFORM empty here,
# and knows the machine's own platform as `local`.
FROM --platform=${BUILDPLATFORM:-local} ${RUST_IMAGE} AS build
ARG TARGETARCH
WORKDIR /build

# hadolint ignore=DL3008
RUN set -eu; \
    here=$(dpkg --print-architecture); \
    there=${TARGETARCH:-$here}; \
    case "$there" in \
      amd64) cpu=x86_64 gcc=gcc-x86-64-linux-gnu ;; \
      arm64) cpu=aarch64 gcc=gcc-aarch64-linux-gnu ;; \
      *) echo "TARGETARCH=$there: the image is for amd64 and arm64" >&2; exit 1 ;; \
    esac; \
    echo "$cpu-unknown-linux-gnu" > /target; \
    if [ "$there" != "$here" ]; then \
      rustup target add "$cpu-unknown-linux-gnu"; \
      apt-get update; \
      apt-get install -y --no-install-recommends "$gcc" "libc6-dev-$there-cross"; \
      rm -rf /var/lib/apt/lists/*; \
    fi
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

# Dependencies are a layer of their own, behind an empty program: they are compiled again only when they change.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs \
    && cargo build --locked --release --config .cargo/static.toml --target "$(cat /target)"

# The empty program is newer than the sources, by its files' times.
COPY src src
RUN touch src/lib.rs src/main.rs \
    && cargo build --locked --release --config .cargo/static.toml --target "$(cat /target)" \
    && cp "target/$(cat /target)/release/portcullis" /portcullis

FROM scratch
ARG SOURCE=https://github.com/portcullis/portcullis
LABEL org.opencontainers.image.title="portcullis" \
      org.opencontainers.image.description="An mTLS gate for ports that listen on loopback only" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0 AND BSD-3-Clause AND ISC AND MIT AND Unicode-3.0 AND LGPL-2.1-or-later AND GPL-3.0-or-later WITH GCC-exception-3.1" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /portcullis /portcullis
# What a burst of connections took goes back to the node: docs/performance.md.
ENV GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:glibc.malloc.trim_threshold=4194304
USER 65532:65532
ENTRYPOINT ["/portcullis"]
CMD ["serve"]
