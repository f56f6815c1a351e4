// The usual broadcast server on the ws package: what arrives on /pub/TOPIC goes
// to everyone on /sub/TOPIC; what arrives on /echo goes back.

import { WebSocketServer } from 'ws';

const port = Number(process.argv[2]);
const topics = new Map();

function subscribersOf(topic) {
  let subscribers = topics.get(topic);
  if (!subscribers) topics.set(topic, (subscribers = new Set()));
  return subscribers;
}

function connected(socket, request) {
  const [, role, topic] = request.url.split('/');
  socket.on('error', () => socket.terminate());
  if (role === 'sub') {
    const subscribers = subscribersOf(topic);
    subscribers.add(socket);
    socket.on('close', () => subscribers.delete(socket));
  } else if (role === 'pub') {
    socket.on('message', (message) => {
      for (const subscriber of subscribersOf(topic)) subscriber.send(message, { binary: false });
    });
  } else {
    socket.on('message', (message) => socket.send(message, { binary: false }));
  }
}

const server = new WebSocketServer({
  host: '127.0.0.1',
  port,
  backlog: 4096,
  perMessageDeflate: false,
});
server.on('connection', connected);
server.on('listening', () => console.log('ready'));
