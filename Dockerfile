# A static binary and nothing else, run as a user who owns nothing. Go builds for the
# platform of the image on the platform of the builder, without emulation:
#
#   docker build --build-arg VERSION=$(git describe --tags --always --dirty) -t roomenv .
#   docker build --platform linux/amd64,linux/arm64 ...
#
# The builder is pinned by the digest that docker-library/repo-info records for this tag:
# change both together. The bytes of the result depend on the version of Go alone.
FROM --platform=$BUILDPLATFORM golang:1.26.8@sha256:9d2f36f06329b2a141b9db99ffa32765cf695ee57b813ca29e245e8670bcbfff AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=unknown
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags="-s -w -X main.stamped=$VERSION" -o /roomenv ./cmd/roomenv

FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title="roomenv" \
      org.opencontainers.image.description="Brings the secrets of a MeshAgent room to a process, and keeps them current" \
      org.opencontainers.image.source="https://github.com/roomenv/roomenv" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /roomenv /roomenv
USER 65532:65532
ENTRYPOINT ["/roomenv"]
