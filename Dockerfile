# ossmount in a small image: compiled in one stage, run from another, as a user of its own. The mount needs /dev/fuse and
# CAP_SYS_ADMIN (for fusermount3; the daemon has no capability):
#   docker run --rm --device /dev/fuse --cap-add SYS_ADMIN -e OSS_ACCESS_KEY_ID -e OSS_ACCESS_KEY_SECRET \
#     -e OSSMOUNT_SOURCE=oss://BUCKET/PREFIX -e OSSMOUNT_MOUNTPOINT=/mnt/data -e OSSMOUNT_ENDPOINT=ENDPOINT \
#     ossmount ls -l /mnt/data
# The entrypoint mounts what the environment says and runs the command: `ossmount-run --help`. To have the same in an image
# of your own, see examples/: two lines.
ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc pkg-config libfuse3-dev libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
COPY setup.cfg pyproject.toml README.md LICENSE tools/container-install.sh /opt/ossmount/src/
COPY ossmount /opt/ossmount/src/ossmount
RUN cp -R /opt/ossmount/src /tmp/src && python3 -m venv /opt/ossmount && /opt/ossmount/bin/pip install --no-cache-dir '/tmp/src[sdk]'

FROM ${PYTHON}
RUN apt-get update && apt-get install -y --no-install-recommends fuse3 && rm -rf /var/lib/apt/lists/* \
    && sed -i 's/^#user_allow_other/user_allow_other/' /etc/fuse.conf
COPY --from=build /opt/ossmount /opt/ossmount
RUN useradd --uid 10001 --create-home --home-dir /var/lib/ossmount --shell /usr/sbin/nologin ossmount \
    && install -d -o ossmount -g ossmount -m 0700 /run/ossmount /var/cache/ossmount \
    && install -d -o ossmount -g ossmount -m 0755 /mnt/data
ENV PATH=/opt/ossmount/bin:$PATH OSSMOUNT_STATE_DIR=/run/ossmount OSSMOUNT_METADATA_DIR=/var/cache/ossmount
USER ossmount
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ossmount status --health "$OSSMOUNT_MOUNTPOINT"
ENTRYPOINT ["ossmount-run"]
