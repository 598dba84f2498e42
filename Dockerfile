# The book in an image, from the versions of constraints.txt. Not tried where it was written, which has no Docker:
#     docker build --tag entropy-book .
#     docker run --rm --publish 8000:8000 entropy-book      then http://127.0.0.1:8000
FROM python:3.11-bookworm
WORKDIR /entropy
COPY . .
RUN make book
EXPOSE 8000
CMD ["python", "-m", "http.server", "8000", "--directory", "_build/html"]
