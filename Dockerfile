# flipguard as an image: one static binary, and nothing else.
#
#   docker build -t flipguard .                                    builds it from source
#   docker build -t flipguard --build-arg TARGETARCH=arm64 .       for another architecture
#   docker build -t flipguard --build-arg BINARY=prebuilt .        takes dist/amd64/flipguard, built elsewhere (`make static`)
#
# Podman and buildah take the same. Scanners read the list of packages in the binary: `cargo auditable` has put it there.
#
# For two builds that are the same, give the base image by its digest, or build from `make static`, which needs none:
#   --build-arg RUST=docker.io/library/rust@sha256:...
ARG BINARY=build
ARG RUST=docker.io/library/rust:1.95-bookworm

# From source, on the machine's own architecture, for that of the target.
FROM ${RUST} AS build
ARG TARGETARCH=amd64
WORKDIR /source
COPY . .
RUN set -eu; \
    case "$TARGETARCH" in \
        amd64) machine=x86_64; compiler=gcc-x86-64-linux-gnu ;; \
        arm64) machine=aarch64; compiler=gcc-aarch64-linux-gnu ;; \
        *) echo "TARGETARCH is $TARGETARCH; it must be amd64 or arm64" >&2; exit 1 ;; \
    esac; \
    target=$machine-unknown-linux-gnu; \
    if [ "$TARGETARCH" != "$(dpkg --print-architecture)" ]; then \
        apt-get update; \
        apt-get install -y --no-install-recommends "$compiler" "libc6-dev-$TARGETARCH-cross"; \
        rustup target add "$target"; \
        linker=CARGO_TARGET_$(echo "$target" | tr a-z- A-Z_)_LINKER; \
        export "$linker=$machine-linux-gnu-gcc"; \
    fi; \
    cargo install --quiet --locked --version 0.7.7 cargo-auditable; \
    RUSTFLAGS='-C target-feature=+crt-static' \
        cargo auditable build --release --locked --bin flipguard --target "$target"; \
    mkdir /out; cp "target/$target/release/flipguard" /out/flipguard

# Built elsewhere.
FROM scratch AS prebuilt
ARG TARGETARCH=amd64
COPY dist/${TARGETARCH}/flipguard /out/flipguard

FROM ${BINARY} AS binary

# The image. A number, so that the API server can see that it is not root.
FROM scratch
ARG VERSION=0.1.0
# The commit that it was built from.
ARG REVISION=unknown
LABEL org.opencontainers.image.title="flipguard" \
      org.opencontainers.image.description="A Kubernetes admission webhook that makes blue-green by hand safe" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=binary /out/flipguard /flipguard
USER 65532:65532
ENTRYPOINT ["/flipguard"]
CMD ["serve"]
