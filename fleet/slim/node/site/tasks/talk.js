const WebSocket = require('ws');

const socket = new WebSocket(`ws://127.0.0.1:${process.env.PORT || 3000}/`);
socket.on('open', () => socket.send('leek'));
socket.on('message', (data) => { console.log(String(data)); socket.close(); });
